// The page that waits for a mail: counts down until another may be asked for, and moves on when
// the address was verified elsewhere.

const resend = document.getElementById("resend");
const says = resend.textContent;
let wait = Number(resend.dataset.wait);

function count() {
  resend.disabled = wait > 0;
  resend.textContent = wait > 0 ? `${says} in ${wait} s` : says;
  if (wait-- > 0) setTimeout(count, 1000);
}
count();

async function ask() {
  if (!document.hidden) {
    try {
      const answer = await fetch("/verify/state", { headers: { Accept: "application/json" } });
      const state = await answer.json();
      document.getElementById("undeliverable").hidden = !state.undeliverable;
      if (state.verified) return location.replace("/verify/done");
    } catch {
      // Offline, or the gateway restarts: ask again.
    }
  }
  setTimeout(ask, 2000);
}
setTimeout(ask, 2000);
