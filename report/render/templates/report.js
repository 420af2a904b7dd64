"use strict";

// Orders numbers by size and words as people do; empty cells come last in either direction.
function inOrder(first, second, descending) {
  if (first === undefined || second === undefined) return (first === undefined) - (second === undefined);
  const numbers = [Number(first), Number(second)];
  const difference = numbers.some(Number.isNaN)
    ? first.localeCompare(second, "en", { numeric: true })
    : numbers[0] === numbers[1] ? 0 : numbers[0] - numbers[1];
  return descending ? -difference : difference;
}

function sortRows(table, column, descending) {
  const body = table.tBodies[0];
  const key = (row) => row.cells[column].dataset.key;
  body.append(...[...body.rows].sort((first, second) => inOrder(key(first), key(second), descending)));
}

function sortable(table) {
  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((header, column) => header.querySelector("button").addEventListener("click", () => {
    const descending = header.getAttribute("aria-sort") === "ascending";
    for (const other of headers) other.setAttribute("aria-sort", "none");
    header.setAttribute("aria-sort", descending ? "descending" : "ascending");
    sortRows(table, column, descending);
  }));
}

// All words must be in a row, in any order.
function matches(text, query) {
  const content = text.toLowerCase();
  return query.toLowerCase().split(/\s+/).every((word) => content.includes(word));
}

function search(query) {
  const rows = [...document.querySelectorAll(".found-by-search")];
  for (const row of rows) row.hidden = !matches(row.textContent, query);
  const shown = rows.filter((row) => !row.hidden).length;
  document.getElementById("found").value = query.trim() ? `${shown} of ${rows.length} rows` : "";
}

if (typeof document !== "undefined") {
  document.querySelectorAll("table").forEach(sortable);
  document.getElementById("search").addEventListener("input", (event) => search(event.target.value));
}
