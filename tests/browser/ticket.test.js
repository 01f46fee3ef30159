// Delivery by ticket in a real browser: the page is logged in and its scripts never see the token.
import assert from 'node:assert/strict';
import { freePort } from './support/port.js';
import { readQrOf, scanAs, state, story } from './support/story.js';

const COOKIE = '__Host-scanlogin';

// The setting must name the page's origin before the service has its port.
const port = await freePort();
const env = {
  SCANLOGIN_LISTEN: `127.0.0.1:${port}`,
  SCANLOGIN_DELIVER: 'ticket',
  SCANLOGIN_ALLOWED_ORIGINS: `http://127.0.0.1:${port}`,
};

const cookieOf = async (page) => (await page.context().cookies()).find(({ name }) => name === COOKIE);

/** Everything that a script of the page could find. */
const foundByScripts = (page) =>
  page.evaluate(() =>
    [document.cookie, JSON.stringify({ ...sessionStorage }), JSON.stringify({ ...localStorage }), document.documentElement.outerHTML].join(' '));

// Keeps, in the page, every frame and every answer that its scripts are given.
const listen = (page) =>
  page.addInitScript(() => {
    window.heard = [];
    const Socket = window.WebSocket;
    window.WebSocket = class extends Socket {
      constructor(...all) {
        super(...all);
        this.addEventListener('message', ({ data }) => window.heard.push(data));
      }
    };
    const ask = window.fetch;
    window.fetch = async (...all) => {
      const answer = await ask(...all);
      window.heard.push(JSON.stringify([...answer.headers]), await answer.clone().text());
      return answer;
    };
  });

const stranger = () => '<!doctype html><title>elsewhere</title>';
const expected = [/status of 403/, /favicon\.ico/, /CORS policy/, /net::ERR_FAILED/, /NotSameOrigin/];
story('a ticket becomes a cookie, and no script of the page ever sees the token', { env, embed: stranger, expected }, async ({ open, origin, host }) => {
  const page = await open('/', undefined, listen);
  await scanAs(open, await readQrOf(page), 'alice');
  await state(page, 'logged-in');
  assert.equal(await page.getByTestId('user').textContent(), 'alice');
  const cookie = await cookieOf(page);
  assert.deepEqual([cookie.httpOnly, cookie.secure, cookie.sameSite, cookie.path], [true, true, 'Lax', '/']);
  const [header, claims, signature] = cookie.value.split('.');
  assert.equal(JSON.parse(Buffer.from(claims, 'base64url')).sub, 'alice', header);
  const heard = await page.evaluate(() => window.heard.join(' '));
  assert.match(heard, /"type":"ticket"/, 'the frames were heard');
  assert.match(heard, /"platform":"web"/, 'the answers were heard');
  for (const text of [heard, await foundByScripts(page)]) {
    assert.ok(!text.includes(signature) && !text.includes(claims), 'the token');
  }

  await page.reload();
  await state(page, 'logged-in');

  // A page of somebody else, in the same browser: other port, so same site; the cookie goes along wherever it may.
  const elsewhere = await page.context().newPage();
  await elsewhere.goto(host.origin);
  const tries = await elsewhere.evaluate(async (service) => {
    const attempt = (path, options) =>
      fetch(service + path, { credentials: 'include', ...options }).then(
        async (answer) => `${answer.type} ${answer.status} ${await answer.text()}`,
        (error) => error.name,
      );
    return {
      verify: await attempt('/verify', {}),
      redeem: await attempt('/redeem', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: '{"ticket":"x"}' }),
      logout: await attempt('/logout', { method: 'POST' }),
      unread: await attempt('/logout', { method: 'POST', mode: 'no-cors' }),
      unreadRedeem: await attempt('/redeem', { method: 'POST', mode: 'no-cors', body: '{"ticket":"x"}' }),
    };
  }, origin);
  // Not even an opaque answer: Cross-Origin-Resource-Policy.
  for (const [name, outcome] of Object.entries(tries)) assert.equal(outcome, 'TypeError', name);
  const form = await page.context().newPage();
  await form.goto(host.origin);
  await form.evaluate((service) => {
    const element = Object.assign(document.createElement('form'), { method: 'POST', action: `${service}/logout` });
    document.body.append(element);
    element.submit();
  }, origin);
  await form.getByText('"code":-7').waitFor();
  assert.deepEqual(await cookieOf(page), cookie, 'still there');
  await page.reload();
  await state(page, 'logged-in');

  await page.getByTestId('log-out').click();
  await state(page, 'waiting');
  assert.equal(await cookieOf(page), undefined, 'forgotten');
});
