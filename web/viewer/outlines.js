/** Groups as shapes over the picture. */

const SVG = 'http://www.w3.org/2000/svg';
/** Blocks that no group of the file owns. */
const ABSENT = 255;
const LOCK = 'M4 7V5a4 4 0 0 1 8 0v2h1v8H3V7zm2 0h4V5a2 2 0 0 0-4 0z';

/** A padlock, for a line of text. */
export function lockIcon() {
  const icon = document.createElementNS(SVG, 'svg');
  const path = document.createElementNS(SVG, 'path');
  icon.setAttribute('viewBox', '0 0 16 16');
  icon.setAttribute('class', 'lock');
  icon.setAttribute('aria-hidden', 'true');
  path.setAttribute('d', LOCK);
  path.setAttribute('fill-rule', 'evenodd');
  icon.append(path);
  return icon;
}

/** A colour for each group, as far from those before as a golden angle brings it. @param {number} i */
export const colourOf = (i) => `hsl(${Math.round(35 + i * 137.508) % 360} 75% 62%)`;

/**
 * Paths of a group in units of blocks: its area, by runs of blocks, and its edges; and where its name goes.
 * @param {Uint8Array} mask @param {number} rows @param {number} columns @param {number} id
 */
export function shapeOf(mask, rows, columns, id) {
  let area = '';
  let edge = '';
  let widest = { length: 0, x: 0, y: 0 };
  /** @param {number} y @param {number} x */
  const has = (y, x) => y >= 0 && y < rows && x >= 0 && x < columns && mask[y * columns + x] === id;
  for (let y = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++) {
      if (!has(y, x)) continue;
      const start = x;
      while (has(y, x + 1)) x++;
      area += `M${start} ${y}H${x + 1}V${y + 1}H${start}z`;
      // The name goes where there is room: in a long run, with rows of the group above and below.
      const middle = (start + x) >> 1;
      let room = 0;
      while (room < 3 && has(y - room - 1, middle) && has(y + room + 1, middle)) room++;
      const length = Math.min(x + 1 - start, 12) + 3 * room;
      if (length > widest.length) widest = { length, x: (start + x + 1) / 2, y: y + 0.5 };
    }
  }
  for (let y = 0; y <= rows; y++) {
    for (let x = 0; x < columns; x++) {
      if (has(y, x) === has(y - 1, x)) continue;
      const start = x;
      while (x + 1 < columns && has(y, x + 1) !== has(y - 1, x + 1)) x++;
      edge += `M${start} ${y}H${x + 1}`;
    }
  }
  for (let x = 0; x <= columns; x++) {
    for (let y = 0; y < rows; y++) {
      if (has(y, x) === has(y, x - 1)) continue;
      const start = y;
      while (y + 1 < rows && has(y + 1, x) !== has(y + 1, x - 1)) y++;
      edge += `M${x} ${start}V${y + 1}`;
    }
  }
  return { area, edge, label: widest };
}

/**
 * Draws all groups.
 * @param {SVGSVGElement} svg
 * @param {{ mask: Uint8Array, rows: number, columns: number, width: number, height: number, groups: any[] }} file
 * @param {(id: number) => void} onClick
 * @returns {Map<number, SVGGElement>} by id
 */
export function drawOutlines(svg, file, onClick) {
  const { mask, rows, columns, width, height } = file;
  svg.replaceChildren();
  svg.setAttribute('viewBox', `0 0 ${width / 16} ${height / 16}`);
  /** @param {string} kind @param {Record<string, string | number>} attributes */
  const make = (kind, attributes) => {
    const element = document.createElementNS(SVG, kind);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
    return element;
  };
  const pattern = make('pattern', { id: 'sealed', width: 0.8, height: 0.8, patternUnits: 'userSpaceOnUse', patternTransform: 'rotate(45)' });
  pattern.append(make('rect', { width: 0.8, height: 0.8, fill: '#30343c' }), make('rect', { width: 0.4, height: 0.8, fill: '#646b78' }));
  const defs = make('defs', {});
  defs.append(pattern);
  svg.append(defs);
  const size = Math.min(Math.max(columns / 36, 0.7), 4);
  const found = new Map();
  const texts = [];
  for (const [i, group] of file.groups.entries()) {
    const { area, edge, label } = shapeOf(mask, rows, columns, group.id);
    const kind = group.sealed ? 'group sealed' : 'group';
    const element = /** @type {SVGGElement} */ (make('g', { class: kind, 'data-id': group.id }));
    const areaPath = make('path', { class: 'area', d: area, fill: group.sealed ? 'url(#sealed)' : colourOf(i) });
    const text = make('text', { x: label.x, y: label.y, 'font-size': size });
    text.textContent = group.name;
    element.append(areaPath, make('path', { class: 'edge', d: edge, stroke: colourOf(i) }));
    if (group.sealed) {
      const scale = size / 11;
      const transform = `translate(${label.x - 8 * scale} ${label.y - size * 0.75 - 16 * scale}) scale(${scale})`;
      element.append(make('path', { class: 'lock', d: LOCK, 'fill-rule': 'evenodd', transform }));
    }
    element.addEventListener('click', () => onClick(group.id));
    svg.append(element);
    texts.push(/** @type {const} */ ([element, text]));
    found.set(group.id, element);
  }
  // Names lie within their groups, so that they go with them.
  for (const [element, text] of texts) element.append(text);
  return found;
}

/** The share of the picture that no group owns. @param {Uint8Array} mask */
export const absentBlocks = (mask) => mask.reduce((sum, id) => sum + Number(id === ABSENT), 0);
