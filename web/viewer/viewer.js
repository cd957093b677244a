/** The page: outlines first, then the groups that are asked for, and only their bytes. */

import { BadKey, LimitExceeded } from '../src/errors.js';
import { keyText } from '../src/keys.js';
import { LIMITS } from '../src/limits.js';
import { startWorker } from './client.js';
import { absentBlocks, colourOf, drawOutlines, lockIcon } from './outlines.js';
import { makePan } from './pan.js';

/** @template {HTMLElement} T @param {string} id @returns {T} */
const find = (id) => /** @type {T} */ (document.getElementById(id));
const view = find('view');
const sheet = find('sheet');
const canvas = /** @type {HTMLCanvasElement} */ (find('picture'));
const svg = /** @type {SVGSVGElement} */ (/** @type {unknown} */ (find('outlines')));
const list = find('groups');
const lock = /** @type {HTMLDialogElement} */ (find('lock'));
const key = /** @type {HTMLTextAreaElement} */ (find('key'));
const passphrase = /** @type {HTMLInputElement} */ (find('passphrase'));
const button = (/** @type {string} */ id) => /** @type {HTMLButtonElement} */ (find(id));

/** @typedef {{ id: number, name: string, className: string | null, quality: number, blocks: number, length: number, sealed: boolean, hidden: boolean, encrypted: boolean }} Group */
/** @typedef {'out' | 'busy' | 'in' | 'bad'} State */

/** @type {{ name: string, local: boolean, width: number, height: number, rows: number, columns: number, mask: Uint8Array, fileBytes: number, headBytes: number, groups: Group[], travelled: number, requests: number, whole: boolean } | null} */
let file = null;
/** @type {Map<number, State>} */
const states = new Map();
/** @type {Map<number, string>} */
const faults = new Map();
/** @type {Map<number, SVGGElement>} */
let shapes = new Map();
/** Counts openings, so that answers about an earlier file are dropped. */
let opening = 0;
/** What was measured, for whoever looks (and for the tests). @type {Record<string, any>} */
const measured = {};
Object.assign(globalThis, { ssicMeasured: measured });

const pan = makePan(view, sheet);
const ask = startWorker(({ progress, ready }) => {
  const bar = /** @type {HTMLProgressElement} */ (find('model'));
  find('loading').hidden = Boolean(ready);
  if (progress?.of) bar.value = progress.done / progress.of;
  if (ready) measured.threads = ready.threads;
});

/** @param {number} bytes */
const kilobytes = (bytes) => (bytes < 1000 ? `${bytes} bytes` : `${(bytes / 1000).toFixed(bytes < 1e5 ? 1 : 0)} kB`);
/** @param {number} part */
const percent = (part) => (part > 0 && part < 0.01 ? '<1 %' : `${Math.round(100 * part)} %`);

/** @param {string} text */
const say = (text) => {
  find('status').textContent = text;
};

/** @param {string | null} text */
function complain(text) {
  find('problem').hidden = text === null;
  find('problem').textContent = text ?? '';
}

/** @param {unknown} error */
const words = (error) => (error instanceof Error ? `${error.name}: ${error.message}` : String(error));

/** Makes the canvas so large: browsers bound its sides and its area, each in a way of its own, and say nothing. @param {number} width @param {number} height */
function spread(width, height) {
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext('2d');
  try {
    context?.fillRect(width - 1, height - 1, 1, 1);
    if (!context?.getImageData(width - 1, height - 1, 1, 1).data[3]) throw new Error('nothing can be painted');
    context.clearRect(width - 1, height - 1, 1, 1);
  } catch (error) {
    canvas.width = canvas.height = 1;
    throw new LimitExceeded(`${width} × ${height} pixels are more than this browser can show`, { cause: error });
  }
}

/** Opens a file at a URL, or one that was chosen. @param {string | File} place */
async function open(place) {
  const mine = ++opening;
  complain(null);
  const started = performance.now();
  const local = typeof place !== 'string';
  const name = local ? place.name : decodeURIComponent(new URL(place, location.href).pathname.split('/').pop() ?? '');
  find('title').textContent = name;
  document.title = `${name} – ssic viewer`;
  try {
    const answer = await ask('open', local ? { blob: place } : { url: new URL(place, location.href).href });
    if (mine !== opening) return;
    measured.head = performance.now() - started;
    spread(answer.width, answer.height);
    file = { ...answer, name, local };
  } catch (error) {
    if (mine !== opening) return;
    file = null;
    sheet.hidden = true;
    find('empty').hidden = false;
    list.replaceChildren();
    refresh();
    complain(words(error));
    return;
  }
  if (!file) return;
  states.clear();
  faults.clear();
  sheet.hidden = false;
  find('empty').hidden = true;
  pan.reset(file.width, file.height);
  show();
  measured.outline = performance.now() - started;
  say(`${name} is open: ${file.groups.length} groups, ${kilobytes(file.fileBytes)}.`);
  find('loading').hidden = measured.threads !== undefined;
  ask('prepare').catch((error) => {
    if (mine === opening) complain(words(error));
  });
}

/** Shapes and list anew: another file, or a key showed more of it. */
function show() {
  if (!file) return;
  const { groups } = file;
  for (const { id } of groups) if (!states.has(id)) states.set(id, 'out');
  for (const id of states.keys()) if (!groups.some((group) => group.id === id)) states.delete(id);
  shapes = drawOutlines(svg, file, toggle);
  list.replaceChildren(
    ...groups.map((group, i) => {
      const item = document.createElement('li');
      const entry = document.createElement('button');
      entry.type = 'button';
      entry.dataset.id = String(group.id);
      const swatch = document.createElement('span');
      swatch.className = 'swatch';
      swatch.style.background = colourOf(i);
      swatch.setAttribute('aria-hidden', 'true');
      const parts = ['name', 'state', 'more'].map((kind) => {
        const part = document.createElement('span');
        part.className = kind;
        return part;
      });
      parts[0].textContent = group.name;
      entry.append(swatch, ...parts);
      entry.addEventListener('click', () => toggle(group.id));
      const mark = (/** @type {boolean} */ on) => shapes.get(group.id)?.classList.toggle('marked', on);
      for (const kind of ['focus', 'pointerenter']) entry.addEventListener(kind, () => mark(true));
      for (const kind of ['blur', 'pointerleave']) entry.addEventListener(kind, () => mark(false));
      item.append(entry);
      return item;
    }),
  );
  const classes = new Map();
  for (const { className, sealed } of groups) if (className && !sealed) classes.set(className, (classes.get(className) ?? 0) + 1);
  const several = groups.length > 1 ? [...classes.keys()].slice(0, 6) : [];
  find('classes').replaceChildren(
    ...several.map((className) => {
      const only = document.createElement('button');
      only.type = 'button';
      only.dataset.class = className;
      only.textContent = className === 'person' ? 'Only persons' : `Only ${className}`;
      only.addEventListener('click', () => {
        const ids = groups.filter((group) => group.className === className && !group.sealed).map(({ id }) => id);
        takeAway(groups.map(({ id }) => id).filter((id) => !ids.includes(id)));
        void load(ids);
      });
      return only;
    }),
  );
  refresh();
}

/** The words on the page, from what is known. */
function refresh() {
  const groups = file?.groups ?? [];
  const loaded = groups.filter(({ id }) => states.get(id) === 'in');
  const open = groups.filter(({ sealed }) => !sealed);
  button('everything').disabled = !open.some(({ id }) => states.get(id) === 'out');
  button('nothing').disabled = button('download').disabled = loaded.length === 0;
  const about = find('about');
  const travelled = find('travelled');
  const share = /** @type {HTMLMeterElement} */ (find('share'));
  if (!file) {
    about.textContent = '';
    travelled.textContent = 'Nothing has been fetched yet.';
    share.value = 0;
    find('hint').textContent = '';
    return;
  }
  about.textContent = `${file.width} × ${file.height}, ${groups.length} ${groups.length === 1 ? 'group' : 'groups'}`;
  travelled.textContent = `${kilobytes(file.travelled)} of ${kilobytes(file.fileBytes)} ${file.local ? 'read' : 'have travelled'}, in ${file.requests} ${file.requests === 1 ? 'request' : 'requests'}`;
  share.value = Math.min(file.travelled / file.fileBytes, 1);
  const absent = absentBlocks(file.mask);
  find('hint').textContent = [
    file.mask.length * 16 ** 2 > LIMITS.warnPixels ? 'The picture is very large: decoding it takes long, and much memory.' : '',
    file.whole ? 'This server sends whole files only: all of it has travelled.' : '',
    absent ? `${percent(absent / file.mask.length)} of the picture are not in this file.` : '',
  ].join(' ').trim(); // prettier-ignore
  for (const group of groups) {
    const state = states.get(group.id) ?? 'out';
    const entry = /** @type {HTMLButtonElement | null} */ (list.querySelector(`button[data-id="${group.id}"]`));
    if (!entry) continue;
    entry.className = state;
    if (group.sealed) entry.removeAttribute('aria-pressed');
    else entry.setAttribute('aria-pressed', String(state === 'in'));
    entry.setAttribute('aria-busy', String(state === 'busy'));
    const label = { out: '', busy: 'loading', in: 'shown', bad: 'damaged' }[state];
    const [, , status, more] = entry.children;
    status.replaceChildren(...(group.sealed ? [lockIcon(), 'sealed'] : [label]));
    const size = `${kilobytes(group.length)} · ${percent(group.length / file.fileBytes)} of the file`;
    const area = `${percent(group.blocks / file.mask.length)} of the picture`;
    more.textContent = faults.get(group.id) ?? `${size} · ${area}${group.hidden ? '' : ` · quality ${group.quality}`}`;
    const shape = shapes.get(group.id);
    shape?.classList.toggle('loaded', state === 'in');
    shape?.classList.toggle('busy', state === 'busy');
  }
}

/** @param {number} id */
function toggle(id) {
  const group = file?.groups.find((one) => one.id === id);
  if (!group) return;
  if (group.sealed) openLock();
  else if (states.get(id) === 'in') {
    takeAway([id]);
    say(`${group.name} is taken away.`);
  } else if (states.get(id) !== 'busy') void load([id]);
}

/** Fetches, decodes and paints groups, in one go. @param {number[]} ids */
async function load(ids) {
  const wanted = ids.filter((id) => states.get(id) === 'out' || states.get(id) === 'bad');
  if (!file || !wanted.length) return;
  const mine = opening;
  for (const id of wanted) {
    states.set(id, 'busy');
    faults.delete(id);
  }
  complain(null);
  refresh();
  const started = performance.now();
  try {
    const answer = await ask('decode', { ids: wanted });
    if (mine !== opening || !file) return;
    const { shown, errors, picture, milliseconds, travelled, requests, whole } = answer;
    Object.assign(file, { travelled, requests, whole });
    if (picture) {
      const image = await createImageBitmap(new ImageData(picture.rgba, picture.width, picture.height));
      if (mine !== opening) return;
      canvas.getContext('2d')?.drawImage(image, picture.x, picture.y);
      image.close();
    }
    for (const id of shown) states.set(id, 'in');
    for (const { id, name, message } of errors) {
      states.set(id, 'bad');
      faults.set(id, `${name}: ${message}`);
    }
    measured.decode = { total: performance.now() - started, groups: shown.length, ...milliseconds };
    const names = file.groups.filter(({ id }) => shown.includes(id)).map(({ name }) => name);
    say([names.length ? `Shown: ${names.join(', ')}.` : '', ...errors.map((/** @type {any} */ e) => e.message)].join(' '));
  } catch (error) {
    if (mine !== opening) return;
    for (const id of wanted) states.set(id, 'out');
    complain(words(error));
  }
  refresh();
}

/** @param {number[]} ids */
function takeAway(ids) {
  const context = canvas.getContext('2d');
  if (!file || !context) return;
  const gone = new Set(ids.filter((id) => states.get(id) === 'in'));
  file.mask.forEach((id, i) => {
    const { columns } = /** @type {NonNullable<typeof file>} */ (file);
    if (gone.has(id)) context.clearRect((i % columns) * 16, Math.floor(i / columns) * 16, 16, 16);
  });
  for (const id of gone) states.set(id, 'out');
  refresh();
}

function openLock() {
  find('lock-problem').textContent = '';
  lock.showModal();
}

async function unlock() {
  const mine = opening;
  const secrets = { keys: key.value.trim() ? key.value : '', passphrase: passphrase.value };
  if (!file || (!secrets.keys && !secrets.passphrase)) {
    find('lock-problem').textContent = 'Paste a key, load a key file, or type a passphrase.';
    return;
  }
  button('lock-open').disabled = true;
  find('lock-problem').textContent = secrets.passphrase ? 'Trying…' : '';
  try {
    const { opened, errors, ...answer } = await ask('unlock', secrets);
    if (mine !== opening) return;
    file = { ...file, ...answer };
    show();
    if (opened.length) {
      lock.close();
      await load(opened);
    } else {
      find('lock-problem').textContent = errors[0] ? `${errors[0].name}: ${errors[0].message}` : 'Nothing is sealed any more.';
    }
  } catch (error) {
    find('lock-problem').textContent = words(error);
  } finally {
    button('lock-open').disabled = false;
  }
}

function forgetSecrets() {
  key.value = passphrase.value = '';
  /** @type {HTMLInputElement} */ (find('key-file')).value = '';
}

/** The picture as it is shown, as a PNG with what is missing transparent. */
function download() {
  canvas.toBlob((blob) => {
    if (!blob || !file) return;
    const link = document.createElement('a');
    link.href = URL.createObjectURL(blob);
    link.download = `${file.name.replace(/\.ssic$/, '')}.png`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }, 'image/png');
}

find('lock-form').addEventListener('submit', (event) => {
  event.preventDefault();
  void unlock();
});
button('lock-cancel').addEventListener('click', () => lock.close());
lock.addEventListener('close', forgetSecrets);
find('key-file').addEventListener('change', async (event) => {
  const [chosen] = /** @type {HTMLInputElement} */ (event.target).files ?? [];
  if (!chosen) return;
  find('lock-problem').textContent = '';
  try {
    if (chosen.size > 2 ** 16) throw new BadKey('that is no file of keys: it is too large');
    key.value = keyText(new Uint8Array(await chosen.arrayBuffer()));
  } catch (error) {
    find('lock-problem').textContent = words(error);
  }
});
button('everything').addEventListener('click', () => void load((file?.groups ?? []).filter(({ sealed }) => !sealed).map(({ id }) => id)));
button('nothing').addEventListener('click', () => takeAway([...states.keys()]));
button('download').addEventListener('click', download);
button('zoom-in').addEventListener('click', () => pan.zoom(1.4));
button('zoom-out').addEventListener('click', () => pan.zoom(1 / 1.4));
button('zoom-fit').addEventListener('click', () => pan.fit());
find('file').addEventListener('change', (event) => {
  const input = /** @type {HTMLInputElement} */ (event.target);
  if (input.files?.[0]) void open(input.files[0]);
  input.value = '';
});
document.addEventListener('dragover', (event) => {
  event.preventDefault();
  view.classList.add('over');
});
document.addEventListener('dragleave', () => view.classList.remove('over'));
document.addEventListener('drop', (event) => {
  event.preventDefault();
  view.classList.remove('over');
  const [dropped] = event.dataTransfer?.files ?? [];
  if (dropped) void open(dropped);
});

const place = new URLSearchParams(location.search).get('file');
if (place) void open(place);
