// Keys for who likes keys: g and a letter goes to a page, / to the search, ? tells them all.
// None is taken from a field, a dialog, or with a modifier.

const PAGES = { o: "/overview", u: "/usage", a: "/activity", l: "/live", k: "/keys", b: "/billing", p: "/playground", m: "/models", d: "/docs", s: "/settings" };
const WAIT_MS = 1500;

let leading = -WAIT_MS;

function linkTo(path) {
  return document.querySelector(`nav[aria-label=Main] a[href="${path}"]`);
}

function search() {
  return document.querySelector("input[type=search]");
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.target.closest("input, textarea, select, dialog, [contenteditable]")) return;
  const led = event.timeStamp - leading < WAIT_MS;
  leading = -WAIT_MS;
  if (led && PAGES[event.key]) {
    const link = linkTo(PAGES[event.key]);
    if (link) location.assign(link.href);
  } else if (event.key === "g") {
    leading = event.timeStamp;
  } else if (event.key === "/" && search()) {
    event.preventDefault();
    search().focus();
  } else if (event.key === "?") {
    help();
  }
});

const button = document.getElementById("shortcuts");
button.hidden = false;
button.addEventListener("click", help);

function help() {
  const dialog = document.createElement("dialog");
  dialog.setAttribute("aria-label", "Keyboard shortcuts");
  const title = document.createElement("h2");
  title.textContent = "Keyboard shortcuts";
  const list = document.createElement("dl");
  list.className = "facts keys";
  const rows = Object.entries(PAGES).flatMap(([key, path]) => {
    const link = linkTo(path);
    return link ? [[["g", key], link.textContent.trim()]] : [];
  });
  if (search()) rows.push([["/"], "Search"]);
  rows.push([["?"], "This list"], [["Esc"], "Close what is open"]);
  for (const [keys, text] of rows) {
    const term = document.createElement("dt");
    const said = document.createElement("dd");
    said.textContent = text;
    for (const key of keys) {
      const cap = document.createElement("kbd");
      cap.textContent = key;
      term.append(cap, " ");
    }
    list.append(term, said);
  }
  const row = document.createElement("div");
  row.className = "row";
  const close = document.createElement("button");
  close.type = "button";
  close.className = "quiet";
  close.textContent = "Close";
  close.addEventListener("click", () => dialog.close());
  row.append(close);
  dialog.append(title, list, row);
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal(); // the browser gives the focus back when it closes
}
