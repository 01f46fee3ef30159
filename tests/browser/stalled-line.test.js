// A line that stalls just when the token is pushed: nothing is lost on it, and everything comes late. The page must be
// logged in with a token that stays good, however long it was.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { describe } from 'node:test';
import { ANY_ORIGIN, pageWith } from './support/embed.js';
import { lastReceipt, logInWithoutPage, pause, receipt } from './support/receipt.js';
import { DESKTOP, readAnyQrOf, readQrOf, scanAs, scanWithoutPage, state, story, tokenOf, verify } from './support/story.js';

// For so long after its time a token that nobody acknowledged may still be taken for good (spec 4).
const SLACK_MS = 31_000;

const embedding = await readFile(new URL('../../docs/embedding.md', import.meta.url), 'utf8');
const [, byHand] = embedding.slice(embedding.indexOf('## A client written by hand')).match(/```html\n([\s\S]*?)```/);

const keep = `<script>addEventListener('login', ({ detail }) => sessionStorage.setItem('token', detail.token));
addEventListener('undelivered', () => sessionStorage.removeItem('token'));</script>`;
const element = (transports) => pageWith({ attributes: `transports="${transports}"`, head: keep });

const PAGES = {
  'the element, over a socket': element('socket'),
  'the element, over a stream': element('stream'),
  'the element, by polling': element('poll'),
  'a client written by hand': (origin) => `<!doctype html><style>#qr { width: 400px; height: 400px }</style>${byHand.replaceAll('wss://login.example.com', origin.replace('http', 'ws'))}`,
};

// Each kind of page meets a stall that the server waits for, and one that it does not.
const STALLS = [
  ['the element, over a socket', 1], ['the element, over a socket', 3], ['the element, over a socket', 6], ['the element, over a socket', 20],
  ['the element, over a stream', 6], ['the element, by polling', 6],
  ['a client written by hand', 1], ['a client written by hand', 6], ['a client written by hand', 20],
];

// They mostly wait.
describe('a stall at the push', { concurrency: STALLS.length }, () => {
  for (const [name, seconds] of STALLS) {
    const collect = seconds + 5;
    const env = { ...ANY_ORIGIN, SCANLOGIN_RESUME_SECONDS: String(collect) };

    story(`${name}: ${seconds} s`, { env, embed: PAGES[name], proxied: true, timeout: 180_000 }, async ({ open, host, service, proxy }) => {
      const older = await logInWithoutPage(service, 'alice');
      const page = await open(host.origin);
      const url = await readAnyQrOf(page);
      proxy.stall();
      const { claim } = await scanWithoutPage(service, url, 'alice');
      const approved = Date.now();
      await pause(seconds * 1_000);
      assert.equal(await receipt(service, 'alice', claim), 'approved');
      assert.equal((await verify(service, older)).status, 200);

      proxy.flow();
      assert.equal(await lastReceipt(service, 'alice', claim), 'delivered');
      const token = await (await page.waitForFunction(() => sessionStorage.getItem('token'))).jsonValue();
      await page.waitForFunction(() => sessionStorage.getItem('scanlogin.login') === null);
      assert.equal((await verify(service, older)).status, 401);
      await pause(approved + collect * 1_000 + SLACK_MS - Date.now());
      assert.equal((await verify(service, token)).status, 200);
      assert.equal(await page.evaluate(() => sessionStorage.getItem('token')), token);
      assert.ok(!name.startsWith('the element') || await page.locator('scan-login[state=logged-in]').isVisible());
    });
  }
});

for (const [name, embed] of Object.entries(PAGES)) {
  const settings = { env: { ...ANY_ORIGIN, SCANLOGIN_RESUME_SECONDS: '3' }, embed, proxied: true };

  story(`a token that comes when it can no longer be collected is taken back: ${name}`, { ...settings, expected: [/status of 404/] }, async ({ open, host, service, proxy }) => {
    const older = await logInWithoutPage(service, 'alice');
    const page = await open(host.origin, DESKTOP, (page) => page.addInitScript(() => {
      const { setItem } = Storage.prototype;
      Storage.prototype.setItem = function (name, value) {
        if (name === 'token') globalThis.stored = value;
        setItem.call(this, name, value);
      };
    }));
    const url = await readAnyQrOf(page);
    proxy.stall();
    const { claim } = await scanWithoutPage(service, url, 'alice');
    assert.equal(await lastReceipt(service, 'alice', claim), 'undelivered');
    proxy.flow();
    await page.waitForFunction(() => globalThis.stored);
    if (name.startsWith('the element')) await page.locator('scan-login:is([state=failed], [state=expired])').waitFor();
    await page.waitForFunction(() => sessionStorage.getItem('token') === null);
    assert.equal((await verify(service, older)).status, 200);
  });
}

story('the demo gives up a token that came when it could no longer be collected', { env: { SCANLOGIN_RESUME_SECONDS: '3' }, proxied: true }, async ({ open, service, proxy }) => {
  const page = await open('/');
  const url = await readQrOf(page);
  proxy.stall();
  const { claim } = await scanWithoutPage(service, url, 'alice');
  assert.equal(await lastReceipt(service, 'alice', claim), 'undelivered');
  proxy.flow();
  await state(page, 'failed');
  assert.equal(await tokenOf(page), null);
  await page.getByRole('button', { name: 'Show a new code' }).click();
  await scanAs(open, await readQrOf(page), 'bob');
  await state(page, 'logged-in');
});

const leaving = pageWith({ head: `<script>addEventListener('login', ({ detail }) => {
  sessionStorage.setItem('token', detail.token);
  location.assign('/elsewhere.html');
});</script>` });

for (const seconds of [1, 6]) {
  story(`a page that leaves at once has acknowledged, also after a stall of ${seconds} s`, { env: ANY_ORIGIN, embed: leaving, proxied: true }, async ({ open, host, service, proxy }) => {
    const page = await open(host.origin);
    const url = await readAnyQrOf(page);
    proxy.stall();
    const { claim } = await scanWithoutPage(service, url, 'alice');
    await pause(seconds * 1_000);
    proxy.flow();
    await page.waitForURL('**/elsewhere.html');
    assert.equal(await lastReceipt(service, 'alice', claim), 'delivered');
    const token = await page.evaluate(() => sessionStorage.getItem('token'));
    assert.equal((await verify(service, token)).status, 200);
  });
}
