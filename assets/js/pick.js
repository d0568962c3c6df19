// Tells the server which cell was clicked or reached with the arrow keys: an event `pick`, see selection.cell_of.
let focused = null;
const pick = (cells, row, column) => {
  focused = cells.dataset.grid;
  Object.assign(cells.dataset, {row, column});  // the next key may come before the answer
  trigger('pick', {grid: Number(focused), row, column});
};
element.addEventListener('click', event => {
  const cells = event.target.closest('.cells');
  if (cells) pick(cells, ...cellAt(cells, event));
});
element.addEventListener('keydown', event => {
  const cells = event.target.closest('.cells');
  const step = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]}[event.key];
  if (!cells || !step) return;
  event.preventDefault();
  const next = (now, by, count) => Math.max(0, Math.min(count - 1, Number(now) + by));
  pick(cells, next(cells.dataset.row, step[0], Number(cells.dataset.rows)),
    next(cells.dataset.column, step[1], Number(cells.dataset.columns)));
});
element.addEventListener('focusout', event => { if (event.relatedTarget) focused = null; });
// a new selection brings new cells: who walks with the arrow keys walks on
watch('value', () => {
  if (focused !== null && document.activeElement === document.body)
    element.querySelector(`.cells[data-grid="${focused}"]`)?.focus({preventScroll: true});
});
