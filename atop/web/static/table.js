// The page of a table, brought to life: the grid, its keys, and what the page says of it.

import { Blocks } from "./blocks.js";
import { Cursor } from "./cursor.js";
import { Grid } from "./grid.js";
import { jumping } from "./jump.js";
import { watchNewest } from "./newest.js";
import { keepWidths } from "./widths.js";

const PAUSE = 250;
const SILENT = "The server does not answer, so these are the rows that it gave before: see whether "
  + "atopdb browse still runs, then scroll on.";
const number = new Intl.NumberFormat("en");
const by = (id) => document.getElementById(id);
const [place, offer, help, form, told] = ["rows", "newer", "help", "jumping", "told"].map(by);
const sentence = by("sentence").firstElementChild;
const subject = sentence.textContent.slice(0, sentence.textContent.lastIndexOf(": ") + 2);
let timer = 0;

function tell(words) {
  told.textContent = words;
}

// The sentence, the Python call and soon the address say which rows are seen.
function say(grid, cursor) {
  const [first, end] = grid.shown;
  const total = number.format(grid.blocks.total);
  const rows = `rows ${number.format(first + 1)} to ${number.format(end)} of ${total}`;
  if (sentence.textContent === subject + rows) return;
  sentence.textContent = subject + rows;
  by("call").textContent = by("call").textContent.replace(/\[\d*:\d*\]$/, `[${first || ""}:${end}]`);
  clearTimeout(timer);
  timer = setTimeout(() => {
    by("seen").textContent = rows;
    keep(grid, cursor);
  }, PAUSE);
}

// What is seen, and where the cursor is, is found again by whoever comes back or reloads.
function keep(grid, { row, column }) {
  const [first] = grid.shown;
  history.replaceState({ row, column }, "", at(location.href, first));
  for (const link of offer.querySelectorAll("a")) link.href = at(link.href, first);
}

function at(address, first) {
  const url = new URL(address);
  if (first) url.searchParams.set("row", first + 1);
  else url.searchParams.delete("row");
  return url;
}

function sort(cursor) {
  const link = cursor.sorting;
  if (link) link.click();
  else tell("No index sorts this column: go to one whose name is a link, then press s.");
}

function whenKey(event, cursor) {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, select, textarea, dialog")) return;
  const free = event.target.closest("a, button, summary") === null;
  if (event.key === "/") form.elements.key.focus();
  else if (event.key === "?") help.showModal();
  else if (event.key === "s") sort(cursor);
  else if (free && event.key === "Enter") cursor.open();
  else if (!free || !cursor.key(event.key)) return;
  event.preventDefault();
}

function ways() {
  const button = by("keys");
  button.hidden = false;
  button.addEventListener("click", () => help.showModal());
  form.elements.key.addEventListener("keydown", (event) => {
    if (event.key === "Escape") place.dispatchEvent(new CustomEvent("arrived"));
  });
}

async function start() {
  const total = Number(place.dataset.total);
  const row = Number(place.dataset.row) - 1;
  const grid = new Grid(place, new Blocks(place.dataset.url, total));
  keepWidths(grid);
  const cursor = new Cursor(grid, history.state?.row ?? row, history.state?.column ?? 0);
  place.addEventListener("failure", ({ detail }) => {
    tell(detail.status ? detail.message : SILENT);
    offer.hidden = detail.status !== 410 && offer.hidden;
  });
  await grid.open(row);
  grid.whenDrawn(() => requestAnimationFrame(() => say(grid, cursor)));
  grid.element.addEventListener("regular-table-scroll", () => say(grid, cursor));
  document.addEventListener("click", () => keep(grid, cursor), { capture: true });
  say(grid, cursor);
  place.addEventListener("arrived", () => cursor.move(cursor.row));
  document.addEventListener("keydown", (event) => whenKey(event, cursor));
  jumping(form, place, tell, async (to) => {
    if (to >= total) tell("Nothing stands there or after it: these are the last rows.");
    cursor.row = Math.max(0, Math.min(to, total - 1));
    await grid.goTo(cursor.row);
    cursor.draw();
  });
  ways();
}

watchNewest(place, offer);
if (place.classList.contains("whole")) start().catch((error) => tell(error.message || SILENT));
