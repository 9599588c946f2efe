// Turns the sections of a .tabs element, each with a heading, into tabs. Without this script they
// simply follow one another.

for (const tabs of document.querySelectorAll(".tabs")) {
  const panels = [...tabs.querySelectorAll(":scope > section")];
  const list = document.createElement("div");
  list.setAttribute("role", "tablist");
  const buttons = panels.map((panel, index) => {
    const heading = panel.querySelector("h2, h3, h4");
    const button = document.createElement("button");
    button.type = "button";
    button.id = `${panel.id}-tab`;
    button.textContent = heading.textContent;
    button.setAttribute("role", "tab");
    button.setAttribute("aria-controls", panel.id);
    heading.remove();
    panel.setAttribute("role", "tabpanel");
    panel.setAttribute("aria-labelledby", button.id);
    button.addEventListener("click", () => choose(index));
    button.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      choose((index + step + panels.length) % panels.length, true);
    });
    list.append(button);
    return button;
  });

  function choose(chosen, focus = false) {
    buttons.forEach((button, index) => {
      button.setAttribute("aria-selected", String(index === chosen));
      button.tabIndex = index === chosen ? 0 : -1;
      panels[index].hidden = index !== chosen;
    });
    if (focus) buttons[chosen].focus();
  }

  tabs.prepend(list);
  choose(0);
}
