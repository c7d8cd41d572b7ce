"use strict";
// Chooses the colours, sorts tables, filters and pages the list of results, unfolds what print shall show.  The
// page is whole without it.
(() => {
  const PAGE = 100;
  const root = document.documentElement;
  // What the reader chose last; a browser that keeps nothing for files from a disk is no error.
  const KEPT = "precision-colours";
  const kept = () => { try { return localStorage.getItem(KEPT); } catch { return null; } };
  const keep = (value) => { try { localStorage.setItem(KEPT, value); } catch { /* holds for this visit alone */ } };
  const colour = (value) => {
    if (value === "light" || value === "dark") root.dataset.theme = value;
    else delete root.dataset.theme;
    return root.dataset.theme ?? "auto";
  };
  const chosen = colour(kept()); // before anything is painted
  const theme = () => {
    const select = document.getElementById("theme");
    if (!select) return;
    select.value = chosen;
    select.addEventListener("change", () => keep(colour(select.value)));
    select.closest("label").hidden = false;
  };

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
  const sortable = (table, after) => {
    const body = table.tBodies[0];
    const heads = Array.from(table.tHead.rows[0].cells);
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const numeric = head.classList.contains("num");
        const now = head.getAttribute("aria-sort");
        const down = now ? now === "ascending" : numeric;
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const keyed = Array.from(body.rows, (row) => [key(row, column), row]);
        keyed.sort((a, b) => compare(a[0], b[0], numeric, down ? -1 : 1));
        body.append(...keyed.map((each) => each[1]));
        after();
      });
    });
  };

  const list = (found) => {
    const body = found.tBodies[0];
    const filter = document.getElementById("filter");
    const shown = document.getElementById("shown");
    const pager = document.getElementById("pager");
    const texts = new Map(Array.from(body.rows, (row) => [row, row.textContent.toLowerCase()]));
    let first = 0;
    const show = (all = false) => {
      const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
      const fitting = Array.from(body.rows).filter((row) => words.every((word) => texts.get(row).includes(word)));
      const size = all ? fitting.length : PAGE;
      if (first >= fitting.length) first = 0;
      const visible = new Set(fitting.slice(all ? 0 : first, (all ? 0 : first) + size));
      for (const row of body.rows) row.hidden = !visible.has(row);
      pager.hidden = fitting.length <= PAGE;
      pager.firstElementChild.disabled = first === 0;
      pager.lastElementChild.disabled = first + PAGE >= fitting.length;
      const range = fitting.length > PAGE ? `rows ${first + 1} to ${Math.min(first + PAGE, fitting.length)}, ` : "";
      shown.textContent = `${range}${fitting.length} of ${body.rows.length} rows`;
    };
    filter.addEventListener("input", () => { first = 0; show(); });
    pager.firstElementChild.addEventListener("click", () => { first = Math.max(0, first - PAGE); show(); });
    pager.lastElementChild.addEventListener("click", () => { first += PAGE; show(); });
    filter.closest(".controls").hidden = false;
    // A place in a row of another page is looked for before it is shown.
    const go = () => {
      const row = document.getElementById(location.hash.slice(1))?.closest("#found tbody tr");
      if (!row || !row.hidden) return;
      filter.value = "";
      first = Math.floor(Array.from(body.rows).indexOf(row) / PAGE) * PAGE;
      show();
      row.scrollIntoView();
    };
    addEventListener("hashchange", go);
    show();
    go();
    return show;
  };

  addEventListener("DOMContentLoaded", () => {
    theme();
    const found = document.getElementById("found");
    const show = found ? list(found) : () => {};
    for (const table of document.querySelectorAll("table[data-sortable]")) {
      sortable(table, table === found ? () => show() : () => {});
    }
    addEventListener("beforeprint", () => {
      show(true);
      for (const details of document.querySelectorAll("details.more")) details.open = true;
    });
    addEventListener("afterprint", () => show());
  });
})();
