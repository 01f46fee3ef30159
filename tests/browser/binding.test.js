// Tickets that belong to the browser that asked for the login, in a real browser: which cookies go where.
import assert from 'node:assert/strict';
import { keyUrl, listening, loggedIn, pageWith, view } from './support/embed.js';
import { startHost } from './support/host.js';
import { freePort } from './support/port.js';
import { DESKTOP, scanWithoutPage, state, story } from './support/story.js';

const COOKIE = '__Host-scanlogin-browser';
const REFUSED = [/Failed to load resource.* 403/];

// The setting must name the pages' origins before anything has its port.
const [port, pagePort] = [await freePort(), await freePort()];
// A browser takes ports for no difference of sites, and 127.0.0.1 and localhost for one.
const [sameSite, crossSite] = [`http://127.0.0.1:${pagePort}`, `http://localhost:${pagePort}`];
const env = {
  SCANLOGIN_LISTEN: `127.0.0.1:${port}`,
  SCANLOGIN_DELIVER: 'ticket',
  SCANLOGIN_ALLOWED_ORIGINS: [`http://127.0.0.1:${port}`, sameSite, crossSite].join(),
};

/** A page at this origin, another than the service's, whose element tries these kinds of lines. */
const beside = (page, transports) => async ({ origin }) => {
  const host = await startHost(pageWith({ attributes: `transports="${transports}"` })(origin), {}, pagePort);
  return { ...host, origin: page };
};

const cookiesOf = async (page, name) => (await page.context().cookies()).filter((cookie) => cookie.name === name);

for (const transport of ['socket', 'stream', 'poll']) {
  story(`a page on another host of the site logs in over a ${transport}, twice with one cookie`, { env, beside: beside(sameSite, transport) }, async ({ open, service }) => {
    const page = await open(sameSite, DESKTOP, listening);
    await scanWithoutPage(service, await keyUrl(page), 'alice');
    assert.deepEqual(await loggedIn(page), { user: 'alice' });
    const [cookie, ...more] = await cookiesOf(page, COOKIE);
    assert.deepEqual([cookie.httpOnly, cookie.secure, cookie.sameSite, cookie.path, more.length], [true, true, 'Lax', '/', 0]);
    assert.equal(await page.evaluate(() => document.cookie), '', 'no script can read it');
    await page.goto(sameSite);
    await scanWithoutPage(service, await keyUrl(page), 'bob');
    assert.deepEqual(await loggedIn(page), { user: 'bob' });
    const [again] = await cookiesOf(page, COOKIE);
    assert.equal(again.value, cookie.value);
  });

  story(`a page on another site gets no ticket redeemed over a ${transport}, as the manual says`, { env, beside: beside(crossSite, transport), expected: REFUSED }, async ({ open, service }) => {
    const page = await open(crossSite, DESKTOP, listening);
    await scanWithoutPage(service, await keyUrl(page), 'alice');
    await view(page, 'failed');
    assert.deepEqual([await page.evaluate(() => globalThis.logins.length), await page.context().cookies()], [0, []]);
  });
}

/** Until the page's login belongs to the cookie that is left: who was given one with it comes back once. */
const bound = (page) =>
  new Promise((resolve) => {
    page.on('websocket', (socket) => {
      socket.on('framereceived', ({ payload }) => {
        if (socket.url().includes('resume=1') || !JSON.parse(payload).new_browser) resolve();
      });
    });
  });

story('two tabs that ask at once both log in', { env, expected: [/favicon\.ico/] }, async ({ open, service, origin }) => {
  const first = await open('/favicon.svg');
  const second = await first.context().newPage();
  // Nobody has scanned within the second and a half that this takes.
  const both = Promise.all([first, second].map(bound));
  await Promise.all([first, second].map((page) => page.goto(`${origin}/`)));
  await second.bringToFront();
  await both;
  for (const [page, user] of [[second, 'alice'], [first, 'bob']]) {
    await page.bringToFront();
    await scanWithoutPage(service, await keyUrl(page), user);
    await state(page, 'logged-in');
    assert.equal(await page.getByTestId('user').textContent(), user);
  }
  assert.equal((await cookiesOf(first, COOKIE)).length, 1);
});

story('a tab whose cookie another tab has replaced logs in with that one', { env }, async ({ open, service, origin }) => {
  const resumed = [];
  const page = await open('/', DESKTOP, async (page) => {
    page.on('websocket', (socket) => socket.on('framereceived', () => socket.url().includes('resume=1') && resumed.push(socket)));
  });
  const url = await keyUrl(page);
  const [given] = await cookiesOf(page, COOKIE);
  const value = 'A'.repeat(43);
  await page.context().addCookies([{ name: COOKIE, value, url: origin.replace('http', 'https'), httpOnly: true, secure: true, sameSite: 'Lax' }]);
  const replaced = await cookiesOf(page, COOKIE);
  assert.ok(given.value !== value && replaced.length === 1 && replaced[0].value === value);
  // It comes back by itself, a moment after it was given its cookie; where that moment has passed, a reload does it.
  const before = resumed.length;
  if (before > 0) await page.reload();
  while (resumed.length === before) await page.waitForTimeout(50);
  await scanWithoutPage(service, url, 'alice');
  await state(page, 'logged-in');
});

story('an answer that was lost costs a reload and no scan', { env, expected: [/net::ERR_FAILED/] }, async ({ open, service }) => {
  let redeemed = 0;
  const page = await open('/', DESKTOP, async (page) => {
    await page.route('**/redeem', async (route) => {
      redeemed += 1;
      // The service has done it, and the page does not hear of it.
      await route.fetch();
      await route.abort();
    });
  });
  await scanWithoutPage(service, await keyUrl(page), 'alice');
  while (redeemed === 0) await page.waitForEvent('requestfailed');
  await page.context().clearCookies({ name: '__Host-scanlogin' });
  await page.unroute('**/redeem');
  await page.reload();
  await state(page, 'logged-in');
  assert.equal(await page.getByTestId('user').textContent(), 'alice');
  assert.equal((await cookiesOf(page, '__Host-scanlogin')).length, 1);
});
