// Shows the words of the cell under the mouse, in the layer that is shown, in the browser alone. A finger selects.
let data = null, updates = null, over = null;
const unpack = packed => {
  const bytes = Uint8Array.from(atob(packed), letter => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate'))).arrayBuffer();
};
const load = async () => {
  data = null;
  const packed = element.querySelector('.tip');
  if (!packed) return;
  const [words, codes] = await Promise.all([packed.dataset.words, packed.dataset.updates].map(unpack));
  if (packed.isConnected)
    [data, updates] = [JSON.parse(new TextDecoder().decode(words)), new Uint8Array(codes)];
};
const update = (arm, layer, slot) => arm.updates === null ? data.unknown
  : slot < 0 ? '' : data.levels[updates[arm.updates + layer * arm.roles.length + slot]];
const summed = (steps, number) => steps.slice(0, number + 1).reduce((sum, step) => sum + step);
// lines of a swatch and words
const ofToken = (cells, row, column) => {
  const token = summed(data.grids[cells.dataset.grid], row * Number(cells.dataset.columns) + column);
  const arm = data.arms[cells.closest('[data-arm]').dataset.arm];
  const slider = document.querySelector('#overlay-layer input[type=range]');
  const layer = Math.max(0, Math.min(arm.layers.length, Number(slider?.value ?? 1)) - 1);
  const [swatch, words] = arm.marks[arm.tokens.histories[arm.tokens.history[token]][layer]];
  return [['', data.tokens[token]], [swatch, `${arm.layers[layer]}: ${words}`], ['', arm.tokens.merges[token]],
    ['', update(arm, layer, summed(arm.tokens.slot, token))]];
};
const ofSlot = (cells, layer, slot) => {
  const arm = data.arms[cells.dataset.grid];
  const mark = arm.marks[arm.histories[arm.history[slot]][layer]];
  const where = arm.slot.replace('{}', (slot + 1).toLocaleString('en'));
  return [['', `${arm.layers[layer]}, ${where}`], arm.roles[slot], mark, ['', update(arm, layer, slot)]];
};
const tip = () => element.querySelector('.tip');
const unframe = () => document.querySelectorAll('.cells .pointed').forEach(frame => frame.remove());
const leave = () => {
  if (!tip()?.classList.contains('seen')) return;
  tip().classList.remove('seen');
  unframe();
};
const show = () => {
  const cells = data && over && document.elementFromPoint(over.clientX, over.clientY)?.closest('.cells');
  if (!cells) return leave();
  const [row, column] = cellAt(cells, over), box = tip(), cell = `x="${column}" y="${row}" width="1" height="1"`;
  unframe();
  cells.insertAdjacentHTML('beforeend', `<rect class="pointed light" ${cell}/><rect class="pointed" ${cell}/>`);
  const lines = (cells.closest('[data-arm]') ? ofToken : ofSlot)(cells, row, column);
  box.replaceChildren(...lines.filter(([, words]) => words).map(([swatch, words]) => {
    const line = document.createElement('p');
    if (swatch) line.append(Object.assign(document.createElement('span'), {className: `key ${swatch}`}));
    line.append(Object.assign(document.createElement('span'), {textContent: words}));
    return line;
  }));
  box.classList.add('seen');
  const fits = (at, size, room) => at + 16 + size <= room - 8 ? at + 16 : Math.max(8, at - 16 - size);
  box.style.left = `${fits(over.clientX, box.offsetWidth, document.documentElement.clientWidth)}px`;
  box.style.top = `${fits(over.clientY, box.offsetHeight, innerHeight)}px`;
};
const forget = () => {
  over = null;
  leave();
};
document.addEventListener('pointermove', event => {
  over = event.pointerType !== 'touch' && event.target.closest?.('.cells') ? event : null;
  show();
});
document.documentElement.addEventListener('pointerleave', forget);
document.addEventListener('scroll', forget, true);
document.addEventListener('layer-shown', show);  // the mouse may rest while a key changes the layer
watch('value', load);
load();
