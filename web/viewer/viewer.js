/** The page: outlines first, then the groups that are asked for, and only their bytes. */

import { BadKey } from '../src/errors.js';
import { keyText } from '../src/keys.js';
import { LIMITS } from '../src/limits.js';
import { clear, keepOnly, paint, spread } from './canvas.js';
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
/**
 * Groups that were asked for in one go: those that are still wanted, and how much is done.
 * @typedef {{ wanted: Set<number>, share: number, controller: AbortController }} Loading
 */
/** By group. @type {Map<number, Loading>} */
const loadings = new Map();
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
  if (!ready) return;
  Object.assign(measured, ready);
  const { threads, engine, note } = measured;
  const way = engine === 'webgpu' ? 'WebGPU' : `WebAssembly, ${threads === 1 ? 'one thread' : `${threads} threads`}`;
  const why = note && note.length > 150 ? `${note.slice(0, 150)}…` : note; // ONNX Runtime can say much
  find('engine').textContent = `Decodes with ${way}${why ? `: ${why}` : ''}.`;
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

/** Opens a file at a URL, or one that was chosen. @param {string | File} place */
async function open(place) {
  const mine = ++opening;
  for (const { controller } of loadings.values()) controller.abort();
  loadings.clear();
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
    spread(canvas, answer.width, answer.height);
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
  button('nothing').disabled = loaded.length + loadings.size === 0;
  button('download').disabled = loaded.length === 0;
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
    const share = loadings.get(group.id)?.share;
    const label = { out: '', busy: share ? `loading, ${percent(share)}` : 'loading', in: 'shown', bad: 'damaged' }[state];
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
  else if (states.get(id) === 'in' || states.get(id) === 'busy') {
    takeAway([id]);
    say(`${group.name} is taken away.`);
  } else void load([id]);
}

/** Fetches, decodes and paints groups, in one go. @param {number[]} ids */
async function load(ids) {
  const wanted = ids.filter((id) => states.get(id) === 'out' || states.get(id) === 'bad');
  if (!file || !wanted.length) return;
  const shape = file;
  const loading = { wanted: new Set(wanted), share: 0, controller: new AbortController() };
  const { signal } = loading.controller;
  for (const id of wanted) {
    states.set(id, 'busy');
    faults.delete(id);
    loadings.set(id, loading);
  }
  complain(null);
  refresh();
  const started = performance.now();
  /** What comes ahead of the answer. @param {{ share?: number, part?: import('../src/plan.js').Part }} news */
  const onNews = ({ share, part }) => {
    if (signal.aborted) return;
    if (part) {
      if (loading.wanted.size < wanted.length) keepOnly(part, shape, loading.wanted);
      paint(canvas, part);
      measured.parts += 1;
    }
    if (share === undefined) return;
    loading.share = share;
    refresh();
  };
  measured.parts = 0;
  /** @param {number} id @param {State} state */
  const settle = (id, state) => {
    if (!loading.wanted.has(id)) return;
    states.set(id, state);
    loadings.delete(id);
  };
  try {
    const { shown, errors, milliseconds, travelled, requests, whole } = await ask('decode', { ids: wanted }, { onNews, signal });
    if (signal.aborted || !file) return;
    Object.assign(file, { travelled, requests, whole });
    for (const id of shown) settle(id, 'in');
    for (const { id, name, message } of errors) {
      settle(id, 'bad');
      faults.set(id, `${name}: ${message}`);
    }
    measured.decode = { total: performance.now() - started, groups: shown.length, ...milliseconds };
    const names = file.groups.filter(({ id }) => shown.includes(id) && loading.wanted.has(id)).map(({ name }) => name);
    say([names.length ? `Shown: ${names.join(', ')}.` : '', ...errors.map((/** @type {any} */ e) => e.message)].join(' '));
  } catch (error) {
    if (signal.aborted) return;
    clear(canvas, shape, loading.wanted); // what of it was painted
    for (const id of wanted) settle(id, 'out');
    complain(words(error));
  }
  refresh();
}

/** Groups that are shown, or being decoded: what of that nobody waits for ends. @param {number[]} ids */
function takeAway(ids) {
  if (!file) return;
  const gone = new Set(ids.filter((id) => states.get(id) === 'in' || states.get(id) === 'busy'));
  clear(canvas, file, gone);
  for (const id of gone) {
    states.set(id, 'out');
    const loading = loadings.get(id);
    loading?.wanted.delete(id);
    if (loading?.wanted.size === 0) loading.controller.abort();
    loadings.delete(id);
  }
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
