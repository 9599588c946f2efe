// What every page has: theme, copy buttons, local times, passwords that can be shown, dialogs.

const root = document.documentElement;

function theme() {
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  return root.dataset.theme ?? system;
}

const toggle = document.getElementById("theme");
if (toggle) {
  toggle.hidden = false;
  toggle.addEventListener("click", () => {
    root.dataset.theme = theme() === "dark" ? "light" : "dark";
    try {
      localStorage.setItem("theme", root.dataset.theme);
    } catch {
      // The choice holds for this page only.
    }
  });
}

for (const button of document.querySelectorAll("button[data-copy]")) button.hidden = !navigator.clipboard;
document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy]");
  if (!button) return;
  const says = button.querySelector("span");
  const source = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(source.value ?? source.textContent);
    says.textContent = "Copied";
  } catch {
    says.textContent = "Press Ctrl+C";
    getSelection().selectAllChildren(source);
  }
  setTimeout(() => (says.textContent = "Copy"), 2000);
});

const local = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });
for (const time of document.querySelectorAll("time[datetime]")) {
  time.title = local.format(new Date(time.dateTime));
}

for (const button of document.querySelectorAll("button[data-shows]")) {
  const field = document.getElementById(button.dataset.shows);
  button.hidden = false;
  button.addEventListener("click", () => {
    const shown = field.type === "text";
    field.type = shown ? "password" : "text";
    button.setAttribute("aria-pressed", String(!shown));
  });
}

// A <dialog> opens by its button and gives the focus back when it closes. Without JavaScript the
// button is a link to a page with the same form.
for (const opener of document.querySelectorAll("[data-opens]")) {
  const dialog = document.getElementById(opener.dataset.opens);
  if (!dialog?.showModal) continue;
  opener.addEventListener("click", (event) => {
    event.preventDefault();
    dialog.showModal();
  });
  dialog.addEventListener("close", () => opener.focus());
}
for (const closer of document.querySelectorAll("dialog [data-closes]")) {
  closer.addEventListener("click", (event) => {
    event.preventDefault();
    closer.closest("dialog").close();
  });
}
for (const dialog of document.querySelectorAll("dialog[data-open]")) dialog.showModal?.();
