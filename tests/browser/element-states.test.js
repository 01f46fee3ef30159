// Every view of `<scan-login>` on somebody else's page: axe finds nothing, in the light and in the dark.
import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { assertAccessible } from './support/axe.js';
import { ANY_ORIGIN, keyUrl, pageWith, view } from './support/embed.js';
import { DESKTOP, part, scanAs, state, story } from './support/story.js';

const FOLDER = fileURLToPath(new URL('../results/screenshots/', import.meta.url));
await mkdir(FOLDER, { recursive: true });

const LINE_IS_DOWN = [/WebSocket connection to .* failed/, /net::ERR_/];
const CONFIRM = { ...ANY_ORIGIN, SCANLOGIN_CONFIRM: 'required' };
const embed = pageWith();

async function check(page, name) {
  await view(page, name);
  await assertAccessible(page, name);
  await page.locator('scan-login').screenshot({ path: `${FOLDER}element-${name}.png` });
}

story('idle, until it is asked for', { env: ANY_ORIGIN, embed: pageWith({ attributes: 'manual' }) }, async ({ open, host }) => {
  const page = await open(host.origin);
  await check(page, 'idle');
  await page.getByRole('button', { name: 'Show the code' }).click();
  await check(page, 'waiting');
});

story('connecting, while no answer comes', { env: ANY_ORIGIN, embed: pageWith({ attributes: 'manual' }), proxied: true }, async ({ open, host, proxy }) => {
  const page = await open(host.origin);
  await view(page, 'idle');
  proxy.goMute();
  await page.getByRole('button').click();
  await check(page, 'connecting');
});

story('scanned, with who it was, and cancelled', { env: CONFIRM, embed }, async ({ open, host }) => {
  const page = await open(host.origin);
  await scanAs(open, await keyUrl(page), 'alice');
  await check(page, 'scanned');
  assert.match(await part(page, 'name').textContent(), /Alice/);
  assert.ok(await part(page, 'match').isHidden());
  await page.getByRole('button', { name: 'Cancel' }).click();
  await check(page, 'cancelled');
});

story('the digits to compare are shown, and said', { env: CONFIRM, embed }, async ({ open, host }) => {
  const page = await open(host.origin, DESKTOP, (page) => page.routeWebSocket(/\/ws/, (socket) => {
    const server = socket.connectToServer();
    server.onMessage((text) => socket.send(text.replace('"type":"scanned"', '"type":"scanned","match":"07"')));
  }));
  await scanAs(open, await keyUrl(page), 'alice');
  await check(page, 'scanned');
  assert.equal(await part(page, 'digits').textContent(), '07');
  assert.match(await page.getByRole('status').textContent(), /07/);
});

story('denied', { env: CONFIRM, embed }, async ({ open, host }) => {
  const page = await open(host.origin);
  const phone = await scanAs(open, await keyUrl(page), 'bob');
  await phone.getByTestId('decline').click();
  await state(phone, 'denied');
  await check(page, 'denied');
});

story('logged in', { env: ANY_ORIGIN, embed }, async ({ open, host }) => {
  const page = await open(host.origin);
  await scanAs(open, await keyUrl(page), 'alice');
  await check(page, 'logged-in');
});

story('expired, with a way on by keyboard that does not lose the focus', { env: { ...ANY_ORIGIN, SCANLOGIN_WAIT_SECONDS: '3' }, embed }, async ({ open, host }) => {
  const page = await open(host.origin);
  await check(page, 'expired');
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await view(page, 'waiting');
  assert.equal(await page.evaluate(() => document.activeElement.shadowRoot.activeElement.getAttribute('part')), 'headline');
});

story('a lost line, and its recovery', { env: ANY_ORIGIN, embed, proxied: true, expected: LINE_IS_DOWN }, async ({ open, host, proxy }) => {
  const page = await open(host.origin);
  await view(page, 'waiting');
  proxy.goDown();
  await check(page, 'reconnecting');
  assert.ok(await part(page, 'qr').isVisible(), 'a code that is still good stays');
  proxy.comeBack();
  await view(page, 'waiting');
});

story('no service, and its coming', { env: ANY_ORIGIN, embed: pageWith({ attributes: 'manual' }), proxied: true, expected: LINE_IS_DOWN }, async ({ open, host, proxy }) => {
  // The longest pauses that chance may choose: the next attempt by itself must be far when the button is clicked.
  const page = await open(host.origin, DESKTOP, (page) => page.addInitScript(() => (Math.random = () => 0.999)));
  await view(page, 'idle');
  proxy.goDown();
  await page.getByRole('button').click();
  await check(page, 'unavailable');
  await page.waitForFunction(() => document.querySelector('scan-login').client.retryAt - Date.now() > 3_000);
  proxy.comeBack();
  await page.getByRole('button', { name: 'Try now' }).click();
  await view(page, 'waiting');
});

story('offline, and back', { env: ANY_ORIGIN, embed, proxied: true, expected: LINE_IS_DOWN }, async ({ open, host, proxy }) => {
  const page = await open(host.origin);
  await view(page, 'waiting');
  await page.context().setOffline(true);
  proxy.cut();
  await check(page, 'offline');
  await page.context().setOffline(false);
  await view(page, 'waiting');
});

story('taken over by another tab', { env: ANY_ORIGIN, embed }, async ({ open, host }) => {
  const first = await open(host.origin);
  await view(first, 'waiting');
  const login = await first.evaluate(() => sessionStorage.getItem('scanlogin.login'));
  const second = await open(host.origin, DESKTOP, (page) => page.addInitScript((saved) => sessionStorage.setItem('scanlogin.login', saved), login));
  await check(first, 'taken-over');
  await view(second, 'waiting');
});

story('a service that wants to hear no more of it', { env: ANY_ORIGIN, embed }, async ({ open, host }) => {
  const page = await open(host.origin, DESKTOP, (page) => page.addInitScript(() => {
    const Real = WebSocket;
    globalThis.WebSocket = class extends Real {
      constructor(...all) {
        super(...all);
        globalThis.lastSocket = this;
      }
    };
  }));
  await view(page, 'waiting');
  await page.evaluate(() => globalThis.lastSocket.send('no JSON'));
  await check(page, 'failed');
});

story('axe does look into the element', { env: ANY_ORIGIN, embed: pageWith({ attributes: 'manual style="--scan-login-muted: #bbb"' }) }, async ({ open, host }) => {
  const page = await open(host.origin);
  await view(page, 'idle');
  await assert.rejects(assertAccessible(page, 'grey on white'), /color-contrast/);
});
