// The grid: all rows of a table in one scroll bar, laid over the page that is there without it.

import "./vendor/regular-table.js";

const number = new Intl.NumberFormat("en");
const PATIENCE = 500;

export class Grid {
  // `place` has the table that the server made; `blocks` has the rows.
  constructor(place, blocks) {
    this.place = place;
    this.blocks = blocks;
    this.root = place.dataset.root;
    this.headers = [...place.querySelectorAll("thead th")].slice(1);
    this.names = this.headers.map((header) => header.textContent.trim());
    this.heads = this.headers.map(columnHeader);
    this.element = document.createElement("regular-table");
    this.last = { num_rows: blocks.total, num_columns: this.names.length, data: [] };
    this.stale = false;
    this.carried = 0;
    this.listeners = [];
    this.element.setDataListener((...area) => this.slice(...area), { virtual_mode: "both" });
    this.element.addStyleListener(() => this.dress());
  }

  // Puts the grid, with `row` as its first one, in the place of the server's table.
  async open(row) {
    await this.blocks.need(row, row + 1);
    this.element.classList.add("coming");
    this.place.append(this.element);
    await this.element.draw();
    this.element.tabIndex = -1;
    this.panel = this.element.shadowRoot.querySelector(".rt-virtual-panel");
    await this.goTo(row);
    this.place.querySelector(":scope > table").remove();
    this.place.classList.add("live");
    for (const name of ["tabindex", "role", "aria-label"]) this.place.removeAttribute(name);
    this.element.classList.remove("coming");
    this.element.addEventListener("scroll", () => this.scrolled(), { passive: true });
    this.element.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    new ResizeObserver(() => this.element.draw()).observe(this.place);
  }

  // `listener` is called after each drawing.
  whenDrawn(listener) {
    this.listeners.push(listener);
  }

  get table() {
    return this.element.querySelector("table");
  }

  // How rows are laid out: how many are to be seen at once, and how far they can be scrolled.
  get measure() {
    const height = this.table.tBodies[0].rows[0]?.offsetHeight || 1;
    const seen = this.element.clientHeight / height - 1;
    const pixels = Math.max(1, this.panel.offsetHeight - this.element.clientHeight);
    return { height, seen, pixels, rows: Math.max(0, this.blocks.total - seen) };
  }

  // The rows that are to be seen, counted from 0, the last one not with them.
  get shown() {
    const { seen, pixels, rows } = this.measure;
    const start = (rows * Math.ceil(this.element.scrollTop)) / pixels;
    return [Math.round(start), Math.min(this.blocks.total, Math.round(start + seen))];
  }

  // Makes `row` the first one that is seen, as far as there are rows after it.
  async goTo(row) {
    const { pixels, rows } = this.measure;
    this.element.scrollTop = rows ? Math.min(pixels, Math.ceil((row * pixels) / rows)) : 0;
    await new Promise(requestAnimationFrame);
    await this.element.flush();
  }

  // Makes `row` one of those that are seen.
  async show(row) {
    const [first, end] = this.shown;
    const many = Math.max(1, Math.floor(this.measure.seen));
    if (row < first) await this.goTo(row);
    else if (row >= Math.min(end, first + many)) await this.goTo(row - many + 1);
  }

  // The cell that is drawn for a row and a column; column 0 has the numbers of the rows.
  cell(row, column) {
    for (const line of this.table.tBodies[0].rows) {
      if (this.element.getMeta(line.cells[0]).y !== row) continue;
      if (column === 0) return line.cells[0];
      return [...line.cells].slice(1).find((each) => this.element.getMeta(each).x === column - 1);
    }
    return undefined;
  }

  async slice(x0, y0, x1, y1) {
    const columns = this.names.length;
    if (x1 <= x0 && y1 <= y0) {
      return { num_rows: this.blocks.total, num_columns: columns, num_row_headers: 1, data: [],
               num_column_headers: 1 };
    }
    this.since = performance.now();
    try {
      await this.blocks.need(y0, y1);
    } catch (error) {
      this.stale = true;
      if (error.name !== "AbortError") this.place.dispatchEvent(failure(error));
      return this.last;
    } finally {
      this.since = undefined;
    }
    this.stale = false;
    const rows = this.blocks.known(y0, Math.min(y1, this.blocks.total)).filter(Boolean);
    const wide = Array.from({ length: Math.min(x1, columns) - x0 }, (_, at) => x0 + at);
    this.last = {
      num_rows: this.blocks.total,
      num_columns: columns,
      num_column_headers: 1,
      first: rows[0],
      data: wide.map((x) => rows.map((row) => this.content(row[2][x]))),
      row_headers: rows.map((row) => [this.rowHeader(row)]),
      column_headers: wide.map((x) => [this.heads[x]]),
    };
    return this.last;
  }

  content([words, , , item]) {
    if (item === null) return words;
    return this.link(words, item);
  }

  rowHeader(row) {
    return this.link(number.format(row[0]), row[1]);
  }

  link(words, item) {
    const link = document.createElement("a");
    link.textContent = words;
    link.href = `${this.root}/items/${item}`;
    link.tabIndex = -1;
    return link;
  }

  // What a table of rows is to those who do not see it.
  dress() {
    if (this.stale) return;
    const table = this.table;
    set(table, "role", "grid");
    set(table, "aria-label", this.place.dataset.label);
    set(table, "aria-rowcount", this.blocks.total + 1);
    set(table, "aria-colcount", this.names.length + 1);
    for (const line of table.tHead.rows) {
      set(line, "aria-rowindex", 1);
      for (const cell of line.cells) this.dressHeader(cell);
    }
    for (const line of table.tBodies[0].rows) this.dressLine(line);
    for (const listener of this.listeners) listener();
  }

  dressHeader(cell) {
    const { x } = this.element.getMeta(cell);
    set(cell, "scope", "col");
    set(cell, "aria-colindex", x === undefined ? 1 : x + 2);
    cell.classList.toggle("figure", x === undefined || this.isNumber(this.last.first?.[2][x]));
    const sorted = x === undefined ? null : this.headers[x].getAttribute("aria-sort");
    if (sorted) set(cell, "aria-sort", sorted);
    else cell.removeAttribute("aria-sort");
    const words = cell.querySelector("span");
    if (x === undefined && words && words.textContent !== "Row") words.textContent = "Row";
  }

  dressLine(line) {
    const { y } = this.element.getMeta(line.cells[0]);
    const [row] = this.blocks.known(y, y + 1);
    set(line, "aria-rowindex", y + 2);
    for (const cell of line.cells) {
      const { x } = cell.tagName === "TH" ? {} : this.element.getMeta(cell);
      set(cell, "aria-colindex", x === undefined ? 1 : x + 2);
      if (x === undefined) set(cell, "scope", "row");
      cell.classList.toggle("figure", x === undefined || this.isNumber(row?.[2][x]));
    }
  }

  isNumber(value) {
    return ["int", "float", "Decimal"].includes(value?.[1]);
  }

  // Rows that were waited for in vain for a while make room for those that are wanted now.
  scrolled() {
    if (this.since === undefined || performance.now() - this.since < PATIENCE) return;
    const [first, end] = this.shown;
    this.blocks.forget(new Set(this.blocks.numbers(first, end)));
  }

  // Where a pixel of the scroll bar stands for more than a pixel of rows, the wheel goes slower.
  wheel(event) {
    const { height, pixels, rows } = this.measure;
    const ratio = pixels / (rows * height);
    if (!event.deltaY || event.ctrlKey || event.shiftKey || ratio > 0.9) return;
    event.preventDefault();
    const unit = [1, height, this.element.clientHeight][event.deltaMode];
    const way = event.deltaY * unit * ratio + this.carried;
    this.carried = way % 1;
    this.element.scrollTop += Math.trunc(way);
  }
}

function columnHeader(header) {
  const words = document.createElement("span");
  words.append(...[...header.childNodes].map((node) => node.cloneNode(true)));
  return words;
}

function set(element, name, value) {
  if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

function failure(error) {
  return new CustomEvent("failure", { detail: error });
}
