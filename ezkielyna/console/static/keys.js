// Keys: a new one is forgotten by the history, names are changed in the list.

const fresh = document.getElementById("new-key");
if (fresh) {
  // A reload must not send the form again, and the way back must not show the key.
  history.replaceState(null, "", "/keys");
  fresh.closest("section").scrollIntoView({ block: "nearest" });
  fresh.addEventListener("click", () => getSelection().selectAllChildren(fresh));
}

for (const button of document.querySelectorAll("button[data-renames]")) {
  button.addEventListener("click", (event) => {
    event.preventDefault();
    const cell = document.getElementById(button.dataset.renames);
    if (cell.querySelector("form")) return;
    const shown = cell.querySelector("span");
    const form = document.getElementById("rename").content.firstElementChild.cloneNode(true);
    const input = form.querySelector("input[name=name]");
    form.action = button.form.action;
    input.value = shown.textContent;
    shown.hidden = true;
    cell.append(form);
    input.select();
    input.addEventListener("keydown", (pressed) => {
      if (pressed.key !== "Escape") return;
      form.remove();
      shown.hidden = false;
      button.focus();
    });
  });
}
