"use strict";

// Sorting, searching and copying are by hand: a library would have to be inside of every page, as none may be fetched,
// and weighs ten to a hundred times as much as these lines, which also keep what was not measured last in either order.

// Orders numbers by size and words as people do; empty cells come last in either direction.
function inOrder(first, second, descending) {
  if (first === undefined || second === undefined) return (first === undefined) - (second === undefined);
  const numbers = [Number(first), Number(second)];
  const difference = numbers.some(Number.isNaN)
    ? first.localeCompare(second, "en", { numeric: true })
    : numbers[0] === numbers[1] ? 0 : numbers[0] - numbers[1];
  return descending ? -difference : difference;
}

// A cell whose text is its key does not say it twice.
function keyOf(cell) {
  return cell.dataset.key ?? (cell.textContent.trim() || undefined);
}

function sortRows(table, column, descending) {
  const body = table.tBodies[0];
  const keyed = [...body.rows].map((row) => [keyOf(row.cells[column]), row]);
  keyed.sort((first, second) => inOrder(first[0], second[0], descending));
  body.append(...keyed.map(([, row]) => row));
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
  if (query.trim()) document.querySelectorAll(".folded").forEach(unfold);
}

// A table in Markdown, as it is sorted and found now; what Markdown would take for markup is escaped.
function asMarkdown(table) {
  const plain = (cell) => cell.textContent.trim().replace(/\s+/g, " ").replace(/[\\`*_[\]<>|~]|&(?=#?\w+;)/g, "\\$&");
  const line = (cells) => `| ${cells.join(" | ")} |`;
  const headers = [...table.tHead.rows[0].cells];
  const rows = [...table.tBodies[0].rows].filter((row) => !row.hidden);
  const rule = headers.map((cell) => (cell.className.includes("words") ? "---" : "---:"));
  return [headers.map(plain), rule, ...rows.map((row) => [...row.cells].map(plain))].map(line).join("\n") + "\n";
}

async function copy(button, text) {
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "The browser allows no copying";
  }
  setTimeout(() => { button.textContent = before; }, 2000);
}

function unfold(frame) {
  frame.classList.remove("folded");
  frame.querySelector("button.unfold").hidden = true;
}

// Says that there are columns to the right, as long as there are.
function hinted(frame) {
  const wide = frame.querySelector(".wide");
  const update = () => {
    const scrolls = wide.scrollWidth > wide.clientWidth + 1;
    frame.querySelector(".hint").hidden = !scrolls;
    frame.classList.toggle("more", scrolls && wide.scrollLeft + wide.clientWidth < wide.scrollWidth - 1);
  };
  wide.addEventListener("scroll", update, { passive: true });
  new ResizeObserver(update).observe(wide);
}

function equipped(frame) {
  const table = frame.querySelector("table");
  sortable(table);
  hinted(frame);
  const button = frame.querySelector("button.copy");
  button.hidden = false;
  button.addEventListener("click", () => copy(button, asMarkdown(table)));
  const all = frame.querySelector("button.unfold");
  if (all === null) return;
  frame.classList.add("folded"); // Without this script, all rows are there.
  all.hidden = false;
  all.addEventListener("click", () => unfold(frame));
}

if (typeof document !== "undefined") {
  document.querySelectorAll(".table").forEach(equipped);
  document.getElementById("search").addEventListener("input", (event) => search(event.target.value));
}
