// One story = one service of its own and the people at their screens. However it ends, nobody's page may have
// spoken to a stranger, logged an error or run into its own content security policy.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import jsQR from 'jsqr';
import { chromium } from 'playwright-core';
import { PNG } from 'pngjs';
import { startHost } from './host.js';
import { startNginx } from './nginx.js';
import { startProxy } from './proxy.js';
import { startService } from './service.js';

const PATIENCE_MS = 15_000;
export const DESKTOP = { viewport: { width: 1280, height: 860 } };
export const PHONE = { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 };

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync',
  ],
});
after(() => browser.close());

/**
 * `env`: settings of the service. `proxied`: pages reach it over a line that the story can cut.
 * `embed`: a page of somebody else's, made for the origin of the service; it is served from an origin of its own.
 * `headers`: of that page, made for the same.
 * `nginx`: what stands in front of the service; without `proxied` pages reach it there.
 * `expected`: console errors that belong to the story, such as the browser's own line for an answer of 404.
 */
export function story(name, { env, proxied = false, nginx: settings, embed, headers, expected = [] }, tell) {
  test(name, { timeout: 90_000 }, async () => {
    const service = await startService(env);
    const proxy = proxied ? await startProxy(service.address) : undefined;
    const nginx = settings ? await startNginx(service.address, settings) : undefined;
    const origin = proxy?.origin ?? (nginx ? `http://${nginx.address}` : service.origin);
    const host = embed ? await startHost(embed(origin), headers?.(origin)) : undefined;
    const contexts = [];
    const bad = [];

    // `prepare` sees the page before it loads anything.
    async function open(path, options = DESKTOP, prepare = async () => {}) {
      const context = await browser.newContext({ ...options, serviceWorkers: 'block' });
      contexts.push(context);
      context.setDefaultTimeout(PATIENCE_MS);
      watch(context, [origin, service.origin, host?.origin ?? origin], expected, bad);
      const page = await context.newPage();
      await prepare(page);
      await page.goto(path.startsWith('http') ? path : origin + path);
      return page;
    }

    try {
      await tell({ open, origin, service, proxy, nginx, host });
      assert.deepEqual(bad, []);
    } finally {
      await Promise.all(contexts.map((context) => context.close()));
      proxy?.stop();
      await nginx?.stop();
      host?.stop();
      await service.stop();
    }
  });
}

function watch(context, origins, expected, bad) {
  const ours = origins.map((origin) => new URL(origin).host);
  const foreign = (url) => !url.startsWith('data:') && !ours.includes(new URL(url).host);
  context.on('request', (request) => foreign(request.url()) && bad.push(`request to ${request.url()}`));
  context.on('page', (page) => {
    page.on('websocket', (socket) => foreign(socket.url()) && bad.push(`socket to ${socket.url()}`));
    page.on('pageerror', (error) => bad.push(`error in the page: ${error.stack}`));
    // Violations of the content security policy arrive here too.
    page.on('console', (message) => {
      const text = `${message.text()} ${message.location().url}`;
      if (message.type() === 'error' && !expected.some((pattern) => pattern.test(text))) bad.push(`console: ${text}`);
    });
  });
}

export const state = (page, name) => page.locator(`main[data-state="${name}"]`).waitFor();

/** Like a person's camera: reads what is on the screen, not what is in the document. */
export function readQr(screenshot) {
  const { data, width, height } = PNG.sync.read(screenshot);
  return jsQR(new Uint8ClampedArray(data), width, height)?.data;
}

export async function readQrOf(page) {
  await state(page, 'waiting');
  await page.locator('scan-login [part=qr] path').waitFor();
  return readQr(await page.screenshot());
}

/** Opens what the QR held on a phone, chooses a user, and taps. */
export async function scanAs(open, url, user) {
  const phone = await open(url, PHONE);
  await phone.getByTestId(`user-${user}`).click();
  await phone.getByTestId('submit').click();
  return phone;
}

/** What `<scan-login>` shows in one of its parts. */
export const part = (page, name) => page.locator(`scan-login [part~=${name}]`);

export const tokenOf = (page) => page.evaluate(() => sessionStorage.getItem('scanlogin.token'));

export const verify = (service, token) => fetch(`${service.origin}/verify`, { headers: { Authorization: `Bearer ${token}` } });
