/** WebGPU, which Chromium emulates on the processor for these tests: slowly, but with the kernels that graphics cards run. */

import assert from 'node:assert/strict';
import test, { after, before } from 'node:test';
import { readHead } from '../../src/head.js';
import { bytes } from '../cases.js';
import { launch, measured, pixels, settled, withPage } from '../page.js';

/** @typedef {import('playwright-core').Page} Page */

/** @type {import('playwright-core').Browser} */
let browser;
before(async () => {
  browser = await launch(['--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader']);
});
after(() => browser?.close());

const CASE = 'few';
const model = 'kind-local.safetensors';

/** Runs a script in the decoder's worker before it begins: what another machine or a broken driver would be. @param {string} script */
const disturbed = (script) => async (/** @type {Page} */ page) => {
  await page.route(
    (url) => url.pathname.endsWith('/worker.js'),
    async (route) => {
      const response = await route.fetch();
      await route.fulfill({ response, body: `${script}\n${await response.text()}` });
    },
  );
};
/** The emulation passes for a graphics card, and its device can be reached. */
const CARD = `
  Object.defineProperty(GPUAdapterInfo.prototype, 'isFallbackAdapter', { get: () => false });
  const ask = GPUAdapter.prototype.requestDevice;
  GPUAdapter.prototype.requestDevice = async function (...args) {
    return (self.device = await ask.apply(this, args));
  };`;

/** @param {Page} page */
const ready = async (page) => {
  await page.waitForFunction(() => document.getElementById('engine')?.textContent, null, { timeout: 120000 });
  return (await page.textContent('#engine')) ?? '';
};

/** All groups decoded: within one level of what Python decodes. @param {Page} page */
async function everything(page) {
  await page.click('#everything');
  await settled(page);
  assert(await page.isHidden('#problem'), (await page.textContent('#problem')) ?? '');
  const rgba = await pixels(page);
  const rgb = bytes(`${CASE}.rgb`);
  for (let i = 0; i < rgb.length / 3; i++) {
    assert.equal(rgba[4 * i + 3], 255);
    for (let c = 0; c < 3; c++) assert(Math.abs(rgba[4 * i + c] - rgb[3 * i + c]) <= 1, `pixel ${i}`);
  }
  return rgba;
}

test('WebGPU gives the pixels of WebAssembly within one level, and a group the same bits alone as among others', async (t) => {
  const use = async (/** @type {Page} */ page) => {
    assert.match(await ready(page), /^Decodes with WebGPU\.$/);
    const all = await everything(page);
    for (const { id } of readHead(bytes(`${CASE}.ssic`)).groups) {
      await page.click('#nothing');
      await page.click(`#groups button[data-id="${id}"]`);
      await settled(page);
      const alone = await pixels(page);
      let opaque = 0;
      for (let i = 3; i < alone.length; i += 4) {
        opaque += alone[i] / 255;
        if (alone[i]) for (let c = 1; c < 4; c++) assert.equal(alone[i - c], all[i - c]);
      }
      assert(opaque > 0);
    }
  };
  await withPage(browser, `${CASE}.ssic`, t.name, use, { model, more: '&engine=webgpu' });
});

test('what only emulates a graphics card is left alone', async (t) => {
  const use = async (/** @type {Page} */ page, /** @type {import('playwright-core').Request[]} */ requests) => {
    assert.match(await ready(page), /^Decodes with WebAssembly, .*: WebGPU is emulated by the processor here\.$/);
    await everything(page);
    assert(!requests.some((request) => request.url().includes('jspi')), 'what is not used is not fetched');
  };
  await withPage(browser, `${CASE}.ssic`, t.name, use, { model });
});

test('a graphics card is used, and when it is lost WebAssembly goes on', async (t) => {
  const use = async (/** @type {Page} */ page) => {
    assert.match(await ready(page), /^Decodes with WebGPU\.$/);
    await everything(page);
    await page.click('#nothing');
    await page.click('#everything');
    const worker = page.workers().find((one) => one.url().endsWith('worker.js'));
    assert(worker);
    await worker.evaluate(async () => {
      await new Promise((resolve) => setTimeout(resolve, 300)); // in the midst of it
      /** @type {any} */ (globalThis).device.destroy();
    });
    await settled(page);
    await page.click('#nothing');
    await everything(page);
    assert.match(await ready(page), /^Decodes with WebAssembly, .*: .*(lost|failed)/);
    assert.equal((await measured(page)).engine, 'wasm');
  };
  await withPage(browser, `${CASE}.ssic`, t.name, use, { model, before: disturbed(CARD) });
});

test('a driver that computes wrongly is found out before it paints', async (t) => {
  const use = async (/** @type {Page} */ page) => {
    assert.match(await ready(page), /^Decodes with WebAssembly, .*: WebGPU computes wrongly here/);
    await everything(page);
  };
  const broken = `${CARD}
    const compile = GPUDevice.prototype.createShaderModule;
    GPUDevice.prototype.createShaderModule = function (about) {
      return compile.call(this, { ...about, code: about.code.replaceAll('exp(', 'exp(0.9 * ') });
    };`;
  await withPage(browser, `${CASE}.ssic`, t.name, use, { model, before: disturbed(broken) });
});

test('WebGPU where it must be, and is not: an error, and nothing is painted', async (t) => {
  const plain = await launch();
  try {
    const use = async (/** @type {Page} */ page) => {
      await page.click('#everything');
      await page.waitForFunction(() => document.getElementById('problem')?.textContent?.startsWith('EngineError: WebGPU finds no graphics card'));
      assert((await pixels(page)).every((value) => value === 0));
    };
    await withPage(plain, `${CASE}.ssic`, t.name, use, { model, more: '&engine=webgpu' });
  } finally {
    await plain.close();
  }
});
