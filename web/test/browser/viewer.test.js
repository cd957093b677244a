import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import test, { after, before } from 'node:test';
import { crc32, littleEndian } from '../../src/bytes.js';
import { readHead } from '../../src/head.js';
import { bytes, path, text } from '../cases.js';
import { launch, measured, pixels, settled, withPage } from '../page.js';

/** @type {import('playwright-core').Browser} */
let browser;
before(async () => {
  browser = await launch();
});
after(() => browser?.close());

/** @typedef {import('playwright-core').Page} Page */
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** The button of a group. @param {Page} page @param {string} name */
const entry = (page, name) => page.locator('#groups button', { has: page.locator('.name', { hasText: new RegExp(`^${name}$`) }) });

/** Whether a request is for the picture's file. @param {import('playwright-core').Request} request */
const isFile = (request) => new URL(request.url()).pathname.startsWith('/files/');

/** @param {string} name */
const groupsOf = (name) => readHead(bytes(name)).groups;

/**
 * What is painted is what Python decodes, within one level, and nothing else is painted.
 * @param {Page} page @param {string} name @param {string[]} shown
 */
async function paints(page, name, shown) {
  const rgba = await pixels(page);
  const rgb = bytes(`${name}.rgb`);
  const head = readHead(bytes(`${name}.ssic`));
  const ids = new Set(head.groups.filter((group) => shown.includes(group.name)).map((group) => group.id));
  assert.equal(ids.size, shown.length);
  for (let y = 0; y < head.height; y++) {
    for (let x = 0; x < head.width; x++) {
      const i = y * head.width + x;
      const wanted = ids.has(head.mask[(y >> 4) * head.columns + (x >> 4)]);
      assert.equal(rgba[4 * i + 3], wanted ? 255 : 0, `pixel ${x}, ${y}`);
      if (wanted) for (let c = 0; c < 3; c++) assert(Math.abs(rgba[4 * i + c] - rgb[3 * i + c]) <= 1, `pixel ${x}, ${y}`);
    }
  }
}

test('a click on an object fetches and decodes only that', async (t) => {
  await withPage(browser, 'photo.ssic', t.name, async (page, requests) => {
    assert(await page.evaluate(() => crossOriginIsolated));
    assert.equal(await page.locator('#outlines .group').count(), 7);
    assert.deepEqual(await page.locator('#groups .name').allTextContents(), groupsOf('photo.ssic').map((group) => group.name));
    const face = /** @type {import('../../src/head.js').Group} */ (groupsOf('photo.ssic').find((group) => group.name === 'face'));
    const area = page.locator(`#outlines .group[data-id="${face.id}"]`);
    const box = await area.boundingBox();
    assert(box);
    await page.mouse.click(box.x + box.width / 2, box.y + box.height / 3);
    await page.waitForSelector('#groups .in', { timeout: 120000 });
    await paints(page, 'photo', ['face']);
    const ranges = requests.filter(isFile).map((request) => request.headers().range);
    const start = Math.max(4096, face.offset);
    assert.deepEqual(ranges, ['bytes=0-4095', `bytes=${start}-${face.offset + face.length - 1}`]);
    const travelled = (4096 + face.offset + face.length - start) / 1000;
    assert.match((await page.textContent('#travelled')) ?? '', new RegExp(`^${travelled.toFixed(1)} kB of 24\\.`));
    // A second click takes it away, a third costs nothing.
    await page.mouse.click(box.x + box.width / 2, box.y + box.height / 3);
    await paints(page, 'photo', []);
    await entry(page, 'face').click();
    await page.waitForSelector('#groups .in');
    assert.equal(requests.filter(isFile).length, 2);
    const hosts = new Set(requests.map((request) => new URL(request.url()).host));
    assert.equal(hosts.size, 1, 'nothing comes from elsewhere');
  });
});

test('everything, nothing, and the picture as a PNG', async (t) => {
  await withPage(browser, 'photo.ssic', t.name, async (page) => {
    await page.click('#everything');
    await settled(page);
    await paints(page, 'photo', groupsOf('photo.ssic').map((group) => group.name));
    const [download] = await Promise.all([page.waitForEvent('download'), page.click('#download')]);
    assert.equal(download.suggestedFilename(), 'photo.png');
    const png = await readFile(await download.path());
    assert.equal(png.toString('latin1', 1, 4), 'PNG');
    assert.deepEqual([png.readUInt32BE(16), png.readUInt32BE(20)], [512, 600]);
    await page.click('#nothing');
    await paints(page, 'photo', []);
    assert(await page.isDisabled('#download'));
  });
});

test('a group that is taken away while it loads is not painted, and the others are', async (t) => {
  await withPage(browser, 'large.ssic', t.name, async (page) => {
    await page.click('#everything');
    await entry(page, 'dog').click();
    assert.equal(await entry(page, 'dog').getAttribute('aria-busy'), 'false');
    await settled(page);
    await paints(page, 'large', groupsOf('large.ssic').map((group) => group.name).filter((name) => name !== 'dog'));
    await page.click('#nothing');
    // Where nobody waits for any of them, the work ends, and what is asked for next begins.
    await page.click('#everything');
    await page.click('#nothing');
    assert.equal(await page.locator('#groups .busy, #groups .in').count(), 0);
    await entry(page, 'dog').click();
    await settled(page);
    await paints(page, 'large', ['dog']);
    assert(await page.isHidden('#problem'));
    assert.equal((await measured(page)).decode.groups, 1);
  });
});

test('the groups of a class', async (t) => {
  await withPage(browser, 'large.ssic', t.name, async (page) => {
    await entry(page, 'dog').click();
    await settled(page);
    await page.click('text=Only persons');
    await settled(page);
    await paints(page, 'large', ['person 1', 'person 2']);
  });
});

test('the keyboard does what the mouse does', async (t) => {
  await withPage(browser, 'photo.ssic', t.name, async (page) => {
    const name = () => page.evaluate(() => document.activeElement?.querySelector('.name')?.textContent);
    for (let i = 0; i < 30 && (await name()) !== 'cap'; i++) await page.keyboard.press('Tab');
    assert.equal(await name(), 'cap');
    await page.keyboard.press('Enter');
    await page.waitForSelector('#groups .in', { timeout: 120000 });
    assert.equal(await entry(page, 'cap').getAttribute('aria-pressed'), 'true');
    assert.match((await page.textContent('#status')) ?? '', /Shown: cap/);
    await page.keyboard.press('Space');
    assert.equal(await entry(page, 'cap').getAttribute('aria-pressed'), 'false');
    const place = () => page.evaluate(() => document.getElementById('sheet')?.style.transform);
    await page.focus('#view');
    const fitted = await place();
    for (const key of ['+', 'ArrowLeft', '-', '0']) {
      const last = await place();
      await page.keyboard.press(key);
      assert.notEqual(await place(), last, key);
    }
    assert.equal(await place(), fitted);
  });
});

test('zoom by wheel keeps the place under the pointer, and a drag is no click', async (t) => {
  await withPage(browser, 'photo.ssic', t.name, async (page) => {
    const box = await page.locator('#sheet').boundingBox();
    assert(box);
    const [x, y] = [box.x + box.width / 4, box.y + box.height / 2];
    await page.mouse.move(x, y);
    await page.mouse.wheel(0, -240);
    await page.waitForFunction((width) => document.getElementById('sheet')?.getBoundingClientRect().width !== width, box.width);
    const zoomed = await page.locator('#sheet').boundingBox();
    assert(zoomed && Math.abs(zoomed.width / box.width - 2) < 0.01);
    assert(Math.abs((x - zoomed.x) / zoomed.width - 0.25) < 0.01);
    await page.mouse.down();
    await page.mouse.move(x + 50, y + 30, { steps: 4 });
    await page.mouse.up();
    const moved = await page.locator('#sheet').boundingBox();
    assert(moved && Math.abs(moved.x - zoomed.x - 50) < 2 && Math.abs(moved.y - zoomed.y - 30) < 2);
    assert.equal(await page.locator('#groups .busy, #groups .in').count(), 0);
  });
});

test('a sealed face opens with its key, which goes nowhere', async (t) => {
  await withPage(browser, 'sealed-photo.ssic', t.name, async (page, requests) => {
    await page.click('#everything');
    await settled(page);
    await paints(page, 'photo', groupsOf('photo.ssic').map((group) => group.name).filter((name) => name !== 'face'));
    const face = entry(page, 'face');
    assert.match((await face.textContent()) ?? '', /sealed/);
    await face.click();
    await page.fill('#key', text('stranger.key'));
    await page.click('#lock-open');
    await page.waitForFunction(() => document.getElementById('lock-problem')?.textContent?.includes('WrongKey'));
    await page.fill('#key', 'SSICSECRET1-nonsense');
    await page.click('#lock-open');
    await page.waitForFunction(() => document.getElementById('lock-problem')?.textContent?.includes('BadKey'));
    await page.setInputFiles('#key-file', { name: 'a.key', mimeType: 'text/plain', buffer: Buffer.of(0x4b, 0xe9, 0x0a) });
    await page.waitForFunction(() => document.getElementById('lock-problem')?.textContent?.includes('UTF-8'));
    // As an editor may have saved it: UTF-16 with a byte order mark.
    const utf16 = Buffer.from(`\ufeff${text('me.key')}`, 'utf16le');
    await page.setInputFiles('#key-file', { name: 'me.key', mimeType: 'text/plain', buffer: utf16 });
    await page.waitForFunction(() => /SSICSECRET1/.test(/** @type {HTMLTextAreaElement} */ (document.getElementById('key')).value));
    await page.click('#lock-open');
    await page.waitForFunction(() => !document.querySelector('dialog[open]'));
    await settled(page);
    await paints(page, 'photo', groupsOf('photo.ssic').map((group) => group.name));
    assert.equal(await page.inputValue('#key'), '');
    const secret = text('me.key').split('\n')[1].slice(12);
    for (const request of requests) {
      assert(!request.url().includes(secret) && !request.postData() && !JSON.stringify(request.headers()).includes(secret));
    }
    assert.deepEqual(await page.evaluate(() => [{ ...localStorage }, { ...sessionStorage }, document.cookie]), [{}, {}, '']);
  });
});

test('hidden groups appear when a key shows them', async (t) => {
  await withPage(browser, 'hidden-photo.ssic', t.name, async (page) => {
    const names = page.locator('#groups .name');
    assert(!(await names.allTextContents()).includes('face'));
    await entry(page, 'sealed').click();
    await page.fill('#key', text('me.key'));
    await page.click('#lock-open');
    await page.waitForFunction(() => !document.querySelector('dialog[open]'));
    await settled(page);
    assert.deepEqual((await names.allTextContents()).sort(), groupsOf('photo.ssic').map((group) => group.name).sort());
    await paints(page, 'photo', ['face', 'cap']);
  });
});

test('a damaged group costs itself only, and says so', async (t) => {
  await withPage(browser, 'damaged-photo.ssic', t.name, async (page) => {
    await page.click('#everything');
    await settled(page);
    assert.match((await entry(page, 'face').textContent()) ?? '', /damaged.*DamagedSegment/);
    await paints(page, 'photo', groupsOf('photo.ssic').map((group) => group.name).filter((name) => name !== 'face'));
  });
});

test('hostile and broken files give an error on the page, and the next file opens', async (t) => {
  await withPage(browser, 'small.ssic', t.name, async (page) => {
    const good = bytes('small.ssic');
    /** @type {Record<string, [Buffer, string]>} */
    const broken = {
      'a text': [Buffer.from('hello'), 'NotAnSsicFile'],
      empty: [Buffer.alloc(0), 'TruncatedFile'],
      cut: [Buffer.from(good.slice(0, 30)), 'TruncatedFile'],
      'trailing bytes': [Buffer.concat([good, Buffer.from('x')]), 'FormatError'],
      'another head': [Buffer.from(good.map((byte, i) => (i === 12 ? byte ^ 1 : byte))), 'CorruptHead'],
      'a later version': [Buffer.from(good.map((byte, i) => (i === 4 ? 9 : byte))), 'UnsupportedVersion'],
    };
    for (const [name, [buffer, error]] of Object.entries(broken)) {
      await page.setInputFiles('#file', { name: `${name}.ssic`, mimeType: 'application/octet-stream', buffer });
      await page.waitForFunction((kind) => document.getElementById('problem')?.textContent?.startsWith(kind), error);
      assert.equal(await page.locator('#groups button').count(), 0);
    }
    await page.setInputFiles('#file', path('markup.ssic'));
    await page.waitForSelector('#groups button');
    assert(await page.isHidden('#problem'));
    assert.equal(await page.locator('#groups .name').nth(1).textContent(), '<img src=x onerror=document.title=1>');
    assert.equal(await page.locator('img').count(), 0);
    await page.click('#everything');
    await settled(page);
    await paints(page, 'markup', groupsOf('markup.ssic').map((group) => group.name));
    assert.match((await page.textContent('#travelled')) ?? '', /read/);
  });
});

test('a picture that no canvas can hold is refused, not shown empty', async (t) => {
  await withPage(browser, 'small.ssic', t.name, async (page) => {
    const { modelId } = readHead(bytes('small.ssic'));
    // 300,000 x 16 pixels, one group, whose segment is empty; plain table, mask of step 3.
    const body = Uint8Array.of(64 | 48, 0xe0, 0xa7, 0x12, 16, ...modelId, 1, 50, 0, 0, 0, 0, 0);
    const start = Uint8Array.of(0xf3, 0x73, 0x69, 0x63, 1, body.length, ...body);
    const buffer = Buffer.concat([start, littleEndian(crc32(start), 4)]);
    assert.equal(readHead(buffer).width, 300000);
    await page.setInputFiles('#file', { name: 'wide.ssic', mimeType: 'application/octet-stream', buffer });
    await page.waitForFunction(() => document.getElementById('problem')?.textContent?.startsWith('LimitExceeded: 300000 × 16'));
    assert.equal(await page.locator('#groups button').count(), 0);
    await page.setInputFiles('#file', path('small.ssic'));
    await page.waitForSelector('#groups button');
    assert(await page.isHidden('#problem'));
  });
});

test('a server without ranges works, and the page says so', async (t) => {
  await withPage(browser, 'photo.ssic', t.name, async (page) => {
    // As a server does that knows no ranges: the whole file, whatever is asked for.
    await page.route((url) => url.pathname === '/files/photo.ssic', (route) => route.fulfill({ status: 200, body: Buffer.from(bytes('photo.ssic')) }));
    await page.reload();
    await page.waitForSelector('#groups button');
    await entry(page, 'cap').click();
    await page.waitForSelector('#groups .in', { timeout: 120000 });
    await paints(page, 'photo', ['cap']);
    assert.match((await page.textContent('#hint')) ?? '', /whole files only/);
    assert.match((await page.textContent('#travelled')) ?? '', /^24\.\d kB of 24\.\d kB have travelled, in 1 request$/);
  });
});

test('a local file can be dropped', async (t) => {
  await withPage(browser, 'small.ssic', t.name, async (page) => {
    await page.evaluate((list) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([Uint8Array.from(list)], 'dropped.ssic'));
      document.getElementById('view')?.dispatchEvent(new DragEvent('drop', { dataTransfer: transfer, bubbles: true, cancelable: true }));
    }, [...bytes('photo.ssic')]);
    await page.waitForFunction(() => document.querySelectorAll('#groups button').length === 7);
    assert.equal(await page.textContent('#title'), 'dropped.ssic');
  });
});

test('a phone: nothing sticks out, and all of it can be reached', async (t) => {
  const size = { width: 360, height: 740 };
  await withPage(
    browser,
    'photo.ssic',
    t.name,
    async (page) => {
      assert(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth && document.documentElement.scrollHeight <= innerHeight));
      for (const control of await page.locator('header .button, #zoom button, #actions button').all()) {
        const box = await control.boundingBox();
        assert(box && box.x >= 0 && box.x + box.width <= size.width && box.y + box.height <= size.height);
        assert(box.height >= 36);
      }
      await entry(page, 'ribbons').scrollIntoViewIfNeeded();
      await entry(page, 'ribbons').click();
      await settled(page);
      await paints(page, 'photo', ['ribbons']);
    },
    size,
  );
});

test('labels, roles, contrast: axe finds nothing', async (t) => {
  await withPage(browser, 'sealed-photo.ssic', t.name, async (page) => {
    const violations = async () => {
      await page.evaluate(AXE);
      const { violations: found } = await page.evaluate(() => /** @type {any} */ (globalThis).axe.run());
      return found.map((/** @type {any} */ v) => `${v.id}: ${v.nodes.map((/** @type {any} */ n) => n.html).join(' ')}`);
    };
    assert.deepEqual(await violations(), []);
    await entry(page, 'cap').click();
    await settled(page);
    await entry(page, 'face').click();
    await page.waitForSelector('dialog[open]');
    assert.deepEqual(await violations(), []);
    await page.keyboard.press('Escape');
    assert.equal(await page.locator('dialog[open]').count(), 0);
  });
});
