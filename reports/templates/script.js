"use strict";
// Sorts and filters the table of findings, and unfolds the measures for print.  The page is whole without it.
(() => {
  const table = document.getElementById("found");
  if (table) {
    const body = table.tBodies[0];
    const rows = Array.from(body.rows);
    const filter = document.getElementById("filter");
    const shown = document.getElementById("shown");
    const key = (row, column) => {
      const cell = row.cells[column];
      const value = cell.dataset.value;
      return value === undefined ? cell.textContent : Number(value.replace("inf", "Infinity"));
    };
    // A missing figure is last, whichever way the column is sorted.
    const compare = (a, b, numeric, sign) => {
      if (!numeric) return sign * a.localeCompare(b);
      const known = (x) => typeof x === "number";
      if (known(a) && known(b)) return sign * (a < b ? -1 : a > b ? 1 : 0);
      return known(b) - known(a);
    };
    Array.from(table.tHead.rows[0].cells).forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const numeric = head.classList.contains("num");
        const now = head.getAttribute("aria-sort");
        const down = now ? now === "ascending" : numeric;
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const sorted = rows.slice().sort((a, b) => compare(key(a, column), key(b, column), numeric, down ? -1 : 1));
        body.append(...sorted);
      });
    });
    const texts = rows.map((row) => row.textContent.toLowerCase());
    const apply = () => {
      const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
      let count = 0;
      rows.forEach((row, number) => {
        row.hidden = !words.every((word) => texts[number].includes(word));
        count += row.hidden ? 0 : 1;
      });
      shown.textContent = `${count} of ${rows.length} rows`;
    };
    filter.addEventListener("input", apply);
    filter.closest(".controls").hidden = false;
    apply();
  }
  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details.more")) details.open = true;
  });
})();
