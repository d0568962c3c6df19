// Row and column of the cell under a mouse or a finger.
const cellAt = (cells, event) => {
  const box = cells.getBoundingClientRect();
  const index = (offset, size, count) => Math.max(0, Math.min(count - 1, Math.floor(offset / size * count)));
  return [index(event.clientY - box.top, box.height, Number(cells.dataset.rows)),
    index(event.clientX - box.left, box.width, Number(cells.dataset.columns))];
};
