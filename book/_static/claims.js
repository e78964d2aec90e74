// Filters the table of claims by chapter and verdict. Without this script the whole table shows.
(() => {
  const form = document.querySelector(".claims-filter");
  if (!form) return;
  const rows = [...document.querySelectorAll("table.claims-table tbody tr")];

  const show = () => {
    const wanted = [...new FormData(form)]
      .filter(([, value]) => value)
      .map(([name, value]) => `${name}-${value}`);
    for (const row of rows) {
      row.hidden = !wanted.every((name) => row.classList.contains(name));
    }
    const shown = rows.filter((row) => !row.hidden).length;
    form.querySelector("output").textContent = `${shown} of ${rows.length} claims`;
  };

  form.addEventListener("change", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  show();
})();
