// Sorting and filtering of the table of all videos.

const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

function startRanking(table) {
  const heads = [...table.querySelectorAll("thead th")];
  const rows = [...table.tBodies[0].rows];
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const descending = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      table.tBodies[0].append(...sorted(rows, column, head.dataset.kind, descending));
    });
  });
  startFilters(rows);
}

// From the order of the page, so that equal ones keep it; those without a value come last either way.
function sorted(rows, column, kind, descending) {
  const sign = descending ? -1 : 1;
  const keyed = rows.map((row) => ({ row, key: keyOf(row.cells[column], kind) }));
  keyed.sort((one, other) => {
    if (one.key === null || other.key === null) return (one.key === null) - (other.key === null);
    return sign * (kind === "number" ? one.key - other.key : collator.compare(one.key, other.key));
  });
  return keyed.map(({ row }) => row);
}

function keyOf(cell, kind) {
  const text = kind === "number" ? cell.dataset.value : cell.textContent.trim();
  if (text === "") return null;
  return kind === "number" ? Number(text) : text;
}

function startFilters(rows) {
  const ids = ["part-filter", "text-filter", "shown"];
  const [part, text, shown] = ids.map((id) => document.getElementById(id));
  const namesOf = (row) => Array.from(row.querySelectorAll(".name"), (name) => name.textContent);
  const words = rows.map((row) => namesOf(row).join("\n").toLowerCase());

  function filter() {
    const wanted = text.value.trim().toLowerCase();
    let count = 0;
    rows.forEach((row, place) => {
      const fits = !part.value || row.dataset.parts.split(" ").includes(part.value);
      row.hidden = !(fits && words[place].includes(wanted));
      count += !row.hidden;
    });
    const all = `${rows.length} video${rows.length === 1 ? "" : "s"}`;
    shown.textContent = count === rows.length ? all : `${count} of ${all}`;
  }

  part.addEventListener("change", filter);
  text.addEventListener("input", filter);
  part.form.addEventListener("submit", (event) => event.preventDefault());
  // A browser that comes back to the page fills fields in again.
  filter();
}
