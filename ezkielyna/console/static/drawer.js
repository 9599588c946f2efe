// A request of the list opens beside it, in a drawer; without this script its link leads to its page.

const drawer = document.createElement("dialog");
drawer.className = "drawer";
drawer.setAttribute("aria-label", "Request");
let opener = null;
let asked = 0;

document.addEventListener("click", async (event) => {
  const link = event.target.closest("[data-drawer] a[href^='/activity/req_']");
  if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  const turn = ++asked;
  const answer = await fetch(link.href, { headers: { Accept: "text/html" } }).catch(() => null);
  if (turn !== asked) return; // another one was chosen meanwhile
  if (!answer?.ok || answer.redirected) {
    location.assign(link.href);
    return;
  }
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  show(page.getElementById("request"), link);
});

function show(request, link) {
  const title = document.createElement("h2"); // the page has its h1
  const heading = request.querySelector("h1");
  title.replaceChildren(...heading.childNodes);
  heading.replaceWith(title);
  for (const button of request.querySelectorAll("button[data-copy]")) button.hidden = !navigator.clipboard;
  const whole = document.createElement("a");
  whole.href = link.href;
  whole.textContent = "Open as a page";
  const close = document.createElement("button");
  close.type = "button";
  close.className = "quiet small";
  close.textContent = "Close";
  close.autofocus = true;
  close.addEventListener("click", () => drawer.close());
  const bar = document.createElement("div");
  bar.className = "between bar";
  bar.append(whole, close);
  drawer.replaceChildren(bar, request);
  opener = link;
  if (!drawer.isConnected) document.body.append(drawer);
  drawer.showModal();
  drawer.scrollTop = 0;
}

drawer.addEventListener("close", () => opener?.focus());
drawer.addEventListener("click", (event) => {
  if (event.target === drawer) drawer.close(); // beside it
});
