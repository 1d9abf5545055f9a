// The widths of columns as this reader set them, kept in the reader's own browser.

export function keepWidths(grid) {
  const key = `atop widths ${grid.place.dataset.pool}`;
  grid.element.restoreColumnSizes(restored(key, grid.names));

  function keep() {
    const named = { ...read(key) };
    for (const [column, width] of Object.entries(grid.element.saveColumnSizes())) {
      if (column > 0) named[grid.names[column - 1]] = Math.round(width);
    }
    try {
      localStorage.setItem(key, JSON.stringify(named));
    } catch {
      // Where nothing may be kept, widths last as long as the page.
    }
  }

  grid.place.addEventListener("widths", keep);
  grid.element.addEventListener("mousedown", (event) => {
    if (!event.target.classList.contains("rt-column-resize")) return;
    document.addEventListener("mouseup", () => setTimeout(keep), { once: true });
  });
}

function restored(key, names) {
  const sizes = {};
  for (const [name, width] of Object.entries(read(key))) {
    const column = names.indexOf(name);
    if (column >= 0 && width > 0) sizes[column + 1] = width;
  }
  return sizes;
}

function read(key) {
  try {
    return JSON.parse(localStorage.getItem(key)) ?? {};
  } catch {
    return {};
  }
}
