/** A browser and `ssic view`, for tests and figures. */

import assert from 'node:assert';
import { spawn } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { chromium } from 'playwright-core';
import { path } from './cases.js';

const PYTHON = process.env.PYTHON ?? 'python3';
const FAILURES = new URL('../failures/', import.meta.url).pathname;

/** Chromium from $CHROMIUM, or the one of the system. @param {string[]} [more] arguments */
export const launch = (more = []) =>
  chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox', '--disable-dev-shm-usage', ...more] });

/**
 * `ssic view` of a file, until `stop`.
 * @param {string} name of a case, with its suffix @param {string} model of its weights
 * @returns {Promise<{ url: string, stop: () => void }>}
 */
export function serve(name, model) {
  const server = spawn(PYTHON, ['-m', 'ssic', 'view', path(name), '--no-browser', '--model', path(model)], {
    env: { ...process.env, PYTHONUNBUFFERED: '1' },
  });
  return new Promise((resolve, reject) => {
    let said = '';
    server.stderr.on('data', (text) => (said += text));
    server.stdout.on('data', (text) => resolve({ url: String(text).trim(), stop: () => server.kill('SIGINT') }));
    server.on('exit', () => reject(new Error(`ssic view ended: ${said}`)));
  });
}

/**
 * Runs `use` with a page on `ssic view` of a file; what goes wrong leaves a screenshot in web/failures.
 * @param {import('playwright-core').Browser} browser @param {string} name @param {string} title of the test
 * @param {(page: import('playwright-core').Page, requests: import('playwright-core').Request[]) => Promise<void>} use
 * @param {{ width?: number, height?: number, model?: string, more?: string, before?: (page: import('playwright-core').Page) => Promise<void> }} [options]
 *   `more`: what follows the page's address; `before`: called before it is opened
 */
export async function withPage(browser, name, title, use, options = {}) {
  const { width = 1280, height = 800, model = 'model.safetensors', more = '', before } = options;
  const { url, stop } = await serve(name, model);
  const page = await browser.newPage({ viewport: { width, height }, acceptDownloads: true });
  /** @type {import('playwright-core').Request[]} */
  const requests = [];
  /** @type {string[]} */
  const complaints = [];
  page.on('request', (request) => requests.push(request));
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('console', (message) => {
    if (message.type() === 'error') complaints.push(message.text());
  });
  try {
    await before?.(page);
    await page.goto(url + more);
    await page.waitForFunction(() => document.querySelector('#groups button') || !document.getElementById('problem')?.hidden);
    await use(page, requests);
    assert.deepEqual(complaints, [], 'the console has errors');
  } catch (error) {
    await mkdir(FAILURES, { recursive: true });
    await page.screenshot({ path: `${FAILURES}${title.replaceAll(/[^a-z0-9]+/gi, '-')}.png` });
    throw error;
  } finally {
    await page.close();
    stop();
  }
}

/** Until nothing loads. @param {import('playwright-core').Page} page */
export const settled = (page) => page.waitForFunction(() => !document.querySelector('#groups .busy'), null, { timeout: 120000 });

/** What the page has measured. @param {import('playwright-core').Page} page @returns {Promise<any>} */
export const measured = (page) => page.evaluate(() => /** @type {any} */ (globalThis).ssicMeasured);

/** RGBA of the picture as it is painted. @param {import('playwright-core').Page} page @returns {Promise<Uint8ClampedArray>} */
export async function pixels(page) {
  const list = await page.evaluate(() => {
    const canvas = /** @type {HTMLCanvasElement} */ (document.getElementById('picture'));
    const { data } = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d')).getImageData(0, 0, canvas.width, canvas.height);
    return btoa(Array.from(data, (byte) => String.fromCharCode(byte)).join(''));
  });
  return Uint8ClampedArray.from(Buffer.from(list, 'base64'));
}
