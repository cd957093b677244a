/** Zoom and pan: wheel, drag, pinch, keys. A press that hardly moves stays a click. */

const MOST = 40;

/**
 * @param {HTMLElement} view what is looked through
 * @param {HTMLElement} sheet what is moved; its size is that of the picture in CSS pixels
 */
export function makePan(view, sheet) {
  let scale = 1;
  let [x, y] = [0, 0];
  let [width, height] = [1, 1];
  let fitted = true;

  const apply = () => {
    sheet.style.transform = `translate(${x}px, ${y}px) scale(${scale})`;
    sheet.classList.toggle('crisp', scale >= 3);
    sheet.classList.toggle('smooth', scale < 3);
  };
  const fitScale = () => Math.min((view.clientWidth - 24) / width, (view.clientHeight - 24) / height);
  const fit = () => {
    fitted = true;
    scale = Math.min(fitScale(), 4);
    x = (view.clientWidth - width * scale) / 2;
    y = (view.clientHeight - height * scale) / 2;
    apply();
  };
  /** @param {number} factor @param {number} [atX] @param {number} [atY] */
  const zoom = (factor, atX = view.clientWidth / 2, atY = view.clientHeight / 2) => {
    fitted = false;
    const next = Math.min(Math.max(scale * factor, fitScale() / 2), MOST);
    x = atX - ((atX - x) * next) / scale;
    y = atY - ((atY - y) * next) / scale;
    scale = next;
    apply();
  };
  /** @param {number} dx @param {number} dy */
  const move = (dx, dy) => {
    fitted = false;
    // Some of the picture stays in sight.
    x = Math.min(Math.max(x + dx, 48 - width * scale), view.clientWidth - 48);
    y = Math.min(Math.max(y + dy, 48 - height * scale), view.clientHeight - 48);
    apply();
  };

  view.addEventListener(
    'wheel',
    (event) => {
      event.preventDefault();
      const { left, top } = view.getBoundingClientRect();
      zoom(2 ** (-event.deltaY / (event.deltaMode ? 8 : 240)), event.clientX - left, event.clientY - top);
    },
    { passive: false },
  );

  /** @type {Map<number, { x: number, y: number }>} */
  const pointers = new Map();
  let travelled = 0;
  view.addEventListener('pointerdown', (event) => {
    if (event.button !== 0) return;
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (pointers.size === 1) travelled = 0;
  });
  view.addEventListener('pointermove', (event) => {
    const last = pointers.get(event.pointerId);
    if (!last) return;
    const [dx, dy] = [event.clientX - last.x, event.clientY - last.y];
    if (pointers.size === 2) {
      const other = [...pointers].find(([id]) => id !== event.pointerId)?.[1] ?? last;
      const before = Math.hypot(last.x - other.x, last.y - other.y);
      const after = Math.hypot(event.clientX - other.x, event.clientY - other.y);
      const { left, top } = view.getBoundingClientRect();
      if (before > 0) zoom(after / before, (event.clientX + other.x) / 2 - left, (event.clientY + other.y) / 2 - top);
      travelled += 99;
    }
    travelled += Math.hypot(dx, dy);
    if (travelled > 5) {
      if (!view.hasPointerCapture(event.pointerId)) view.setPointerCapture(event.pointerId);
      view.classList.add('dragging');
      move(pointers.size === 2 ? dx / 2 : dx, pointers.size === 2 ? dy / 2 : dy);
    }
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  });
  for (const kind of /** @type {const} */ (['pointerup', 'pointercancel'])) {
    view.addEventListener(kind, (event) => {
      pointers.delete(event.pointerId);
      view.classList.remove('dragging');
    });
  }
  // The click that ends a drag is none.
  view.addEventListener(
    'click',
    (event) => {
      if (travelled > 5) event.stopPropagation();
      travelled = 0;
    },
    { capture: true },
  );

  view.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    /** @type {Record<string, () => void>} */
    const keys = {
      '+': () => zoom(1.4),
      '=': () => zoom(1.4),
      '-': () => zoom(1 / 1.4),
      0: fit,
      ArrowLeft: () => move(60, 0),
      ArrowRight: () => move(-60, 0),
      ArrowUp: () => move(0, 60),
      ArrowDown: () => move(0, -60),
    };
    const action = keys[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
  new ResizeObserver(() => {
    if (fitted) fit();
  }).observe(view);

  return {
    fit,
    zoom,
    /** A new picture. @param {number} newWidth @param {number} newHeight */
    reset(newWidth, newHeight) {
      [width, height] = [newWidth, newHeight];
      sheet.style.width = `${width}px`;
      sheet.style.height = `${height}px`;
      fit();
    },
  };
}
