import assert from 'node:assert/strict';
import { DESKTOP, part, readQrOf, scanAs, state, story, tokenOf, verify } from './support/story.js';

// The browser's own lines about a socket or a request that found nobody.
const LINE_IS_DOWN = [/WebSocket connection to .* failed/, /net::ERR_/];

const remembered = (page) => page.evaluate(() => JSON.parse(sessionStorage.getItem('scanlogin.login')));

story('a page whose socket was cut goes on with the same login', { proxied: true, expected: LINE_IS_DOWN }, async ({ open, proxy }) => {
  const page = await open('/');
  const url = await readQrOf(page);
  const { resume } = await remembered(page);

  const again = page.waitForEvent('websocket', (socket) => socket.url().includes('resume=1'));
  proxy.cut();
  const socket = await again;
  assert.ok(!socket.url().includes(resume), 'the secret is no part of an address');
  await state(page, 'waiting');
  assert.equal((await remembered(page)).resume, resume);

  await scanAs(open, url, 'alice');
  await state(page, 'logged-in');
});

story('a scan while the line of the page is down reaches it when the line is back', { proxied: true, expected: LINE_IS_DOWN }, async ({ open, service, proxy }) => {
  const page = await open('/');
  const key = (await readQrOf(page)).split('#')[1];
  proxy.goDown();
  await state(page, 'reconnecting');
  const phone = await scanAs(open, `${service.origin}/s#${key}`, 'bob');
  await state(phone, 'working');
  assert.equal(await page.locator('main').getAttribute('data-state'), 'reconnecting');

  proxy.comeBack();
  await state(page, 'logged-in');
  await state(phone, 'delivered');
  assert.equal((await verify(service, await tokenOf(page))).status, 200);
});

story('a token whose acknowledgement was lost with the line is acknowledged again', { proxied: true, expected: LINE_IS_DOWN }, async ({ open, service, proxy }) => {
  let cuts = 0;
  const page = await open('/', DESKTOP, async (page) => {
    await page.exposeFunction('cutTheLine', () => {
      cuts += 1;
      proxy.cut();
    });
    await page.addInitScript(() => {
      const send = WebSocket.prototype.send;
      let lost = false;
      WebSocket.prototype.send = function (text) {
        if (lost || !text.includes('"received"')) return send.call(this, text);
        lost = true;
        window.cutTheLine();
      };
    });
  });
  const phone = await scanAs(open, await readQrOf(page), 'alice');
  await state(page, 'logged-in');
  // The receipt alone tells, and the phone was cut off with the page: it asks again by itself.
  await state(phone, 'delivered');
  assert.equal(cuts, 1);
  await page.waitForFunction(() => sessionStorage.getItem('scanlogin.login') === null);
  assert.equal((await verify(service, await tokenOf(page))).status, 200);
});

story('a reload goes on with the login that the tab had', { proxied: true }, async ({ open }) => {
  const page = await open('/');
  const url = await readQrOf(page);
  const { resume } = await remembered(page);
  await page.reload();
  await readQrOf(page);
  assert.equal((await remembered(page)).resume, resume);
  await scanAs(open, url, 'alice');
  await state(page, 'logged-in');
});

story('a second tab that goes on with the login takes it from the first', {}, async ({ open }) => {
  const first = await open('/');
  const url = await readQrOf(first);
  const login = await first.evaluate(() => sessionStorage.getItem('scanlogin.login'));
  const second = await open('/phone');
  await second.evaluate((saved) => sessionStorage.setItem('scanlogin.login', saved), login);
  await second.goto(new URL('/', url).href);
  await state(first, 'taken-over');
  await state(second, 'waiting');
  await scanAs(open, url, 'alice');
  await state(second, 'logged-in');
  assert.equal(await tokenOf(first), null);
});

story('a remembered login that nobody knows any more gives way to a new one', {}, async ({ open, origin }) => {
  const page = await open('/phone');
  await page.evaluate(() => {
    sessionStorage.setItem('scanlogin.login', JSON.stringify({
      resume: 'A'.repeat(64), deadline: Date.now() + 60_000, span: 60_000, endpoint: `${location.origin}/`,
    }));
  });
  await page.goto(origin);
  assert.ok(await readQrOf(page));
});

story('a page that finds no service says so, and goes on by itself once there is one', { proxied: true, expected: LINE_IS_DOWN }, async ({ open, proxy }) => {
  const page = await open('/');
  await state(page, 'waiting');
  await page.getByTestId('cancel').click();
  proxy.goDown();
  await page.getByRole('button', { name: 'Show a new code' }).click();
  await state(page, 'unavailable');
  assert.match(await part(page, 'next').textContent(), /Next attempt|Trying now/);
  proxy.comeBack();
  await state(page, 'waiting');
});
