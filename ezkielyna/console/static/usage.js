// A choice in the filters of the usage page takes effect at once; without this script by its button.

const filters = document.getElementById("usage-filters");
filters.querySelector("button[type=submit]").hidden = true;
filters.addEventListener("change", () => filters.requestSubmit());
filters.addEventListener("submit", () => {
  for (const select of filters.querySelectorAll("select")) {
    if (!select.value) select.disabled = true; // keeps the address short
  }
});
