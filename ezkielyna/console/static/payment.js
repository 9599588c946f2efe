// Shows what became of a payment as soon as its provider has told us.

const page = document.querySelector("[data-state]");
const shown = page.dataset.state;
let pause = 1500;

async function look() {
  if (!document.hidden) {
    try {
      const answer = await fetch(`${location.pathname}/state`, { headers: { Accept: "application/json" } });
      if (answer.ok && (await answer.json()).state !== shown) {
        location.replace(location.pathname);
        return;
      }
    } catch {
      // Offline, or the server restarts: the next look may succeed.
    }
    pause = Math.min(pause * 1.2, 15000);
  }
  setTimeout(look, pause);
}

setTimeout(look, pause);
