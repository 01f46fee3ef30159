// Where WebSockets are blocked: behind a real nginx that refuses to upgrade, or that collects what should be a stream.
import assert from 'node:assert/strict';
import { ANY_ORIGIN, keyUrl, listening, loggedIn, pageWith, view } from './support/embed.js';
import { DESKTOP, scanAs, state, story, verify } from './support/story.js';

const env = ANY_ORIGIN;
const embed = pageWith();
const BLOCKED = [/WebSocket connection to .* failed/];
const CUT = [...BLOCKED, /net::ERR_/];

/** The calls that a page makes, from its first on; none may carry a secret in its address. */
function callsOf(page) {
  const calls = [];
  page.on('websocket', (socket) => calls.push(new URL(socket.url())));
  page.on('request', (request) => calls.push(new URL(request.url())));
  return {
    to: (path) => calls.filter(({ pathname }) => pathname === path).length,
    queries: () => [...new Set(calls.filter(({ pathname }) => /^\/(ws|stream)/.test(pathname)).map(({ search }) => search))].sort(),
  };
}

async function openWatched(open, origin, prepare = async () => {}) {
  let calls;
  const page = await open(origin, DESKTOP, async (page) => {
    calls = callsOf(page);
    await listening(page);
    await prepare(page);
  });
  return { page, calls };
}

for (const [name, nginx, path] of [
  ['over an event stream, where nothing may be upgraded', {}, '/stream'],
  ['by polling, where streams are held back too', { buffering: true }, '/stream/poll'],
]) {
  const settings = { env: { ...env, SCANLOGIN_CONFIRM: 'required', SCANLOGIN_ROTATE_SECONDS: '5' }, embed, nginx, expected: BLOCKED };

  story(`a whole login ${name}`, settings, async ({ open, host, service }) => {
    const { page, calls } = await openWatched(open, host.origin);
    const first = await keyUrl(page);
    await page.waitForFunction((url) => document.querySelector('scan-login').client.login.url !== url, first);
    const phone = await scanAs(open, await keyUrl(page), 'alice');
    await view(page, 'scanned');
    await phone.getByTestId('approve').click();
    const { token, user } = await loggedIn(page);
    await state(phone, 'delivered');
    assert.equal(user, 'alice');
    assert.equal((await verify(service, token)).status, 200);
    assert.ok(calls.to(path) > 0);
    assert.ok(path === '/stream/poll' || calls.to('/stream/poll') === 0);
    assert.deepEqual(calls.queries(), ['', '?qr=svg']);
    assert.equal(await page.evaluate(() => globalThis.logins.length), 1);
  });

  story(`a denial and a new code ${name}`, settings, async ({ open, host }) => {
    const { page } = await openWatched(open, host.origin);
    const phone = await scanAs(open, await keyUrl(page), 'bob');
    await phone.getByTestId('decline').click();
    await view(page, 'denied');
    await page.getByRole('button', { name: 'Show a new code' }).click();
    await view(page, 'waiting');
  });
}

story('a login goes on over a stream when its socket is cut and no other can be had, and over the next one', { env, embed, proxied: true, nginx: {}, expected: CUT }, async ({ open, host, proxy, nginx }) => {
  const { page, calls } = await openWatched(open, host.origin);
  const url = await keyUrl(page);
  proxy.leadTo(nginx.address);
  proxy.cut();
  await page.waitForRequest((request) => request.url().includes('/stream?'));
  assert.equal(await keyUrl(page), url);
  await page.waitForFunction(() => document.querySelector('scan-login').client.connected);
  assert.equal(calls.to('/stream/poll'), 0);

  const streams = calls.to('/stream');
  proxy.cut();
  await page.waitForRequest((request) => request.url().includes('/stream?'));
  assert.ok(calls.to('/stream') > streams);
  await scanAs(open, url, 'bob');
  assert.equal((await loggedIn(page)).user, 'bob');
});

story('a login that was scanned over a socket is confirmed over a stream', { env: { ...env, SCANLOGIN_CONFIRM: 'required' }, embed, proxied: true, nginx: {}, expected: CUT }, async ({ open, host, service, proxy, nginx }) => {
  const { page, calls } = await openWatched(open, host.origin);
  const phone = await scanAs(open, await keyUrl(page), 'alice');
  await view(page, 'scanned');
  proxy.leadTo(nginx.address);
  proxy.cut();
  await page.waitForRequest((request) => request.url().includes('/stream?'));
  await page.waitForFunction(() => document.querySelector('scan-login').client.connected);
  await view(page, 'scanned');
  await phone.getByTestId('approve').click();
  assert.equal((await verify(service, (await loggedIn(page)).token)).status, 200);
  assert.ok(calls.to('/stream') > 0);
});

story('a reload goes on with what worked, and with the same login', { env, embed, nginx: {}, expected: BLOCKED }, async ({ open, host }) => {
  const { page, calls } = await openWatched(open, host.origin);
  const url = await keyUrl(page);
  const sockets = calls.to('/ws');
  await page.reload();
  assert.equal(await keyUrl(page), url);
  assert.equal(calls.to('/ws'), sockets);
});

story('who cancels over a stream leaves a code that is good for nothing', { env: { ...env, SCANLOGIN_CONFIRM: 'required' }, embed, nginx: {}, expected: [...BLOCKED, /Failed to load resource.* 404/] }, async ({ open, host }) => {
  const { page } = await openWatched(open, host.origin);
  const phone = await scanAs(open, await keyUrl(page), 'alice');
  await view(page, 'scanned');
  const told = page.waitForResponse((response) => response.url().endsWith('/stream/message'));
  await page.getByRole('button', { name: 'Cancel' }).click();
  assert.equal((await told).status(), 200);
  await view(page, 'cancelled');
  await phone.getByTestId('approve').click();
  await phone.locator('main[data-state=error][data-code="-1"]').waitFor();
});

story('a page that leaves at once has acknowledged over a stream too', { env, embed, nginx: {}, expected: BLOCKED }, async ({ open, host }) => {
  const { page } = await openWatched(open, host.origin, (page) => page.addInitScript(() => {
    addEventListener('login', () => location.assign('/elsewhere'));
  }));
  const phone = await scanAs(open, await keyUrl(page), 'alice');
  await state(phone, 'delivered');
});

story('an acknowledgement that was lost on its way is said again', { env, embed, nginx: {}, expected: CUT }, async ({ open, host }) => {
  let lost = 0;
  const { page } = await openWatched(open, host.origin, (page) => page.route('**/stream/message', (route) => {
    lost += 1;
    return lost === 1 ? route.abort() : route.continue();
  }));
  const phone = await scanAs(open, await keyUrl(page), 'alice');
  await state(phone, 'delivered');
  assert.equal(await page.evaluate(() => globalThis.logins.length), 1);
});

story('a page may ask for one kind of line alone', { env, embed: pageWith({ attributes: 'transports="poll"' }) }, async ({ open, host, service }) => {
  const { page, calls } = await openWatched(open, host.origin);
  await scanAs(open, await keyUrl(page), 'alice');
  assert.equal((await verify(service, (await loggedIn(page)).token)).status, 200);
  assert.deepEqual([calls.to('/ws'), calls.to('/stream')], [0, 0]);
});
