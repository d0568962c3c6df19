// Where a map scrolls sideways, a newly selected column is brought in sight.
let followed = null;
const follow = () => requestAnimationFrame(() => {
  const cells = element.querySelector('.cells'), scroller = element.closest('.sheets');
  if (!cells || !scroller.clientWidth || cells.dataset.column === followed) return;
  followed = cells.dataset.column;
  const [inside, outside] = [cells, scroller].map(each => each.getBoundingClientRect());
  const at = inside.left - outside.left + (Number(followed) + 0.5) * inside.width / Number(cells.dataset.columns);
  if (at < 60 || at > outside.width - 30) scroller.scrollLeft += at - outside.width / 2;
});
watch('value', follow);
follow();
