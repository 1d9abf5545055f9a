// The cursor of a grid, and the keys that move it.

const STEP = 24;

export class Cursor {
  constructor(grid, row, column) {
    this.grid = grid;
    this.row = Math.min(row, grid.blocks.total - 1);
    this.column = Math.min(column, grid.names.length);
    this.held = false;
    this.revealing = false;
    this.tries = 0;
    grid.whenDrawn(() => this.draw());
    document.addEventListener("focusin", (event) => this.follow(event.target));
    document.addEventListener("pointerdown", (event) => this.follow(event.target));
    grid.element.addEventListener("click", (event) => this.click(event));
  }

  // The rows are what keys go to as long as nothing else was chosen.
  follow(target) {
    this.held = this.grid.element.contains(target) && !target.closest("thead");
  }

  async move(row, column = this.column) {
    this.row = Math.max(0, Math.min(row, this.grid.blocks.total - 1));
    this.column = Math.max(0, Math.min(column, this.grid.names.length));
    this.held = this.revealing = true;
    this.tries = 0;
    await this.grid.show(this.row);
    this.draw();
  }

  click(event) {
    const cell = event.target.closest("tbody th, tbody td");
    if (!cell || event.target.closest("a")) return;
    const { x, y } = this.grid.element.getMeta(cell);
    this.row = y;
    this.column = cell.tagName === "TH" ? 0 : x + 1;
    this.held = true;
    this.draw();
  }

  // Marks the cell, which is the one that Tab leads to; where it is out of sight, the first one.
  draw() {
    const { element, table } = this.grid;
    const cell = this.grid.cell(this.row, this.column);
    for (const each of table.querySelectorAll("[tabindex='0'], .current")) {
      if (each !== cell) each.removeAttribute("tabindex");
      each.classList.remove("current");
    }
    cell?.closest("tr").classList.add("current");
    const stop = cell ?? table.tBodies[0].rows[0]?.cells[0];
    if (stop) stop.tabIndex = 0;
    if (this.held) (cell ?? element).focus({ preventScroll: true });
    if (this.revealing) this.reveal(cell);
  }

  // Scrolls sideways until the whole cell is seen.
  reveal(cell) {
    const { element, table } = this.grid;
    const before = element.scrollLeft;
    if (cell && this.column) {
      const head = table.tBodies[0].rows[0].cells[0].getBoundingClientRect();
      const own = cell.getBoundingClientRect();
      const right = element.getBoundingClientRect().left + element.clientWidth;
      if (own.left < head.right - 1) element.scrollLeft -= head.right - own.left;
      else if (own.right > right + 1 && own.left > head.right + 1) {
        element.scrollLeft += Math.min(own.right - right, own.left - head.right);
      }
    } else if (!cell && this.grid.cell(this.row, 0)) {
      const first = element.getMeta(table.tBodies[0].rows[0].cells[1])?.x ?? 0;
      element.scrollLeft += this.column - 1 < first ? -80 : 80;
    }
    this.tries += 1;
    this.revealing = element.scrollLeft !== before && this.tries < 200;
  }

  // Where Enter leads: to the item of the row, or to the one that the cell refers to.
  open() {
    const cell = this.grid.cell(this.row, this.column);
    const link = cell?.querySelector("a") ?? this.grid.cell(this.row, 0)?.querySelector("a");
    link?.click();
  }

  // The link that sorts by the column of the cursor, if an index does.
  get sorting() {
    return this.column ? this.grid.heads[this.column - 1].querySelector("a") : null;
  }

  // What a key does here; answers whether it does anything.
  key(name) {
    const page = Math.max(1, Math.floor(this.grid.measure.seen) - 1);
    const moves = {
      ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1],
      PageUp: [-page, 0], PageDown: [page, 0], Home: [-Infinity, 0], End: [Infinity, 0],
    };
    if (name in moves) {
      const [down, right] = moves[name];
      this.move(this.row + down, this.column + right);
    } else if (name === "+") this.widen(STEP);
    else if (name === "-") this.widen(-STEP);
    else return false;
    return true;
  }

  widen(pixels) {
    const { element } = this.grid;
    const sizes = element.saveColumnSizes();
    const width = this.grid.cell(this.row, this.column)?.offsetWidth ?? 0;
    sizes[this.column] = Math.max(STEP, (sizes[this.column] ?? width) + pixels);
    element.restoreColumnSizes(sizes);
    element.draw();
    this.grid.place.dispatchEvent(new CustomEvent("widths"));
  }
}
