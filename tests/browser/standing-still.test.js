// Pages that stand still when their token is pushed: in the back-forward cache of a real Chromium, and in a frozen tab. No
// script of theirs runs, while the browser's network stack goes on answering for them.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after } from 'node:test';
import { startChromium, watchLifecycle } from './support/chromium.js';
import { ANY_ORIGIN, keyUrl, pageWith, view } from './support/embed.js';
import { freePort } from './support/port.js';
import { lastReceipt, logInWithoutPage, receipt, untilNobodyWaits } from './support/receipt.js';
import { readAnyQrOf, scanWithoutPage, story, verify } from './support/story.js';

const embedding = await readFile(new URL('../../docs/embedding.md', import.meta.url), 'utf8');
const [, byHand] = embedding.slice(embedding.indexOf('## A client written by hand')).match(/```html\n([\s\S]*?)```/);

// The setting of who gets tickets must name the page's origin before the service has its port.
const port = await freePort();
const browser = await startChromium();
after(() => browser.stop());

/** Keeps what the page was told: tokens, and `undelivered`. */
const watch = async (page) => {
  await watchLifecycle(page);
  await page.addInitScript(() => {
    globalThis.told = [];
    addEventListener('login', ({ detail }) => globalThis.told.push(detail.token));
    addEventListener('undelivered', () => globalThis.told.push('undelivered'));
  });
};
const told = (page) => page.evaluate(() => globalThis.told);
const toldSomething = async (page) => (await page.waitForFunction(() => globalThis.told[0])).jsonValue();

/** How a page stands still, and the events that show that it really did. */
const WAYS = {
  'in the back-forward cache': {
    async still(page, service) {
      await page.goto(`${service.origin}/phone`);
      return () => page.goBack({ waitUntil: 'commit' });
    },
    proof: ['pagehide true', 'freeze', 'resume', 'pageshow true'],
  },
  'in a frozen tab': {
    still: (page) => browser.freeze(page),
    proof: ['hidden', 'freeze', 'resume', 'visible'],
  },
};
const assertStoodStill = async (page, proof) => {
  const events = await page.evaluate(() => globalThis.lifecycle);
  assert.deepEqual(proof.filter((event) => !events.includes(event)), [], `only ${events}`);
};

for (const [where, { still, proof }] of Object.entries(WAYS)) {
  for (const transports of ['socket', 'stream', 'poll']) {
    const settings = { env: ANY_ORIGIN, embed: pageWith({ attributes: `transports="${transports}"` }) };

    story(`a page ${where} (${transports}) is not taken for one that has its token, and has it when it is back`, settings, async ({ host, service }) => {
      const older = await logInWithoutPage(service, 'alice');
      const page = await browser.open(host.origin, watch);
      const url = await keyUrl(page);
      const goOn = await still(page, service);
      const { claim } = await scanWithoutPage(service, url, 'alice');
      await untilNobodyWaits(service);
      assert.equal(await receipt(service, 'alice', claim), 'approved');
      assert.equal((await verify(service, older)).status, 200);

      await goOn();
      const token = await toldSomething(page);
      await assertStoodStill(page, proof);
      assert.equal(await lastReceipt(service, 'alice', claim), 'delivered');
      assert.deepEqual([(await verify(service, token)).status, (await verify(service, older)).status], [200, 401]);
      await page.waitForFunction(() => !document.querySelector('scan-login').client.unacknowledged);
      assert.deepEqual(await told(page), [token]);
    });
  }

  const short = { env: { ...ANY_ORIGIN, SCANLOGIN_RESUME_SECONDS: '3' }, embed: pageWith() };
  story(`a page ${where} that comes back too late is logged in as nobody, and the older login goes on`, short, async ({ host, service }) => {
    const older = await logInWithoutPage(service, 'alice');
    const page = await browser.open(host.origin, watch);
    const url = await keyUrl(page);
    const goOn = await still(page, service);
    const { claim } = await scanWithoutPage(service, url, 'alice');
    assert.equal(await lastReceipt(service, 'alice', claim), 'undelivered');
    assert.equal((await verify(service, older)).status, 200);

    await goOn();
    await page.locator('scan-login:is([state=expired], [state=failed])').waitFor();
    await assertStoodStill(page, proof);
    // A token that lay in the tab all the time is handed over, and taken back.
    const said = await told(page);
    assert.ok(said.length === 0 || said.at(-1) === 'undelivered', said.join());
    await page.getByRole('button', { name: 'Show a new code' }).click();
    await scanWithoutPage(service, await keyUrl(page), 'alice');
    await view(page, 'logged-in');
    const token = (await told(page)).at(-1);
    assert.equal((await verify(service, token)).status, 200);
  });
}

for (const [where, { still, proof }] of Object.entries(WAYS)) {
  const embed = (origin) => `<!doctype html><style>#qr { width: 400px; height: 400px }</style>${byHand.replaceAll('wss://login.example.com', origin.replace('http', 'ws'))}`;

  story(`a client written by hand ${where} has its token when it is back`, { env: ANY_ORIGIN, embed }, async ({ host, service }) => {
    const older = await logInWithoutPage(service, 'alice');
    const page = await browser.open(host.origin, watchLifecycle);
    const url = await readAnyQrOf(page);
    const goOn = await still(page, service);
    const { claim } = await scanWithoutPage(service, url, 'alice');
    await untilNobodyWaits(service);
    assert.equal(await receipt(service, 'alice', claim), 'approved');
    await goOn();
    const token = await (await page.waitForFunction(() => sessionStorage.getItem('token'))).jsonValue();
    await assertStoodStill(page, proof);
    assert.equal(await lastReceipt(service, 'alice', claim), 'delivered');
    assert.deepEqual([(await verify(service, token)).status, (await verify(service, older)).status], [200, 401]);
  });
}

const ABSENCES = {
  ...WAYS,
  'behind another tab': { still: (page) => browser.cover(page), proof: ['hidden', 'visible'] },
  'without a network': { still: (page) => browser.unplug(page), proof: ['offline', 'online'] },
};

for (const [where, { still, proof }] of Object.entries(ABSENCES)) {
  for (const transports of ['socket', 'stream', 'poll']) {
    const settings = { env: ANY_ORIGIN, embed: pageWith({ attributes: `transports="${transports}"` }), proxied: true };

    story(`a page whose line (${transports}) died without a word ${where} asks at once when it is back`, settings, async ({ host, service, proxy }) => {
      const page = await browser.open(host.origin, watch);
      const url = await keyUrl(page);
      const goOn = await still(page, service);
      proxy.dieSilently();
      await scanWithoutPage(service, url, 'alice');
      await goOn();
      // Its watchdog would find out after 38 s.
      const token = await toldSomething(page);
      await assertStoodStill(page, proof);
      assert.equal((await verify(service, token)).status, 200);
    });
  }
}

const byTicket = {
  SCANLOGIN_LISTEN: `127.0.0.1:${port}`, SCANLOGIN_DELIVER: 'ticket', SCANLOGIN_ALLOWED_ORIGINS: `http://127.0.0.1:${port}`,
};

for (const [where, { still, proof }] of Object.entries(WAYS)) {
  story(`a page ${where} does not redeem its ticket, and does when it is back`, { env: byTicket }, async ({ service }) => {
    const page = await browser.open(service.origin, watch);
    await view(page, 'waiting');
    const url = await page.getByTestId('simulator').evaluate((link) => link.href);
    const goOn = await still(page, service);
    const { claim } = await scanWithoutPage(service, url, 'alice');
    assert.equal(await receipt(service, 'alice', claim, 4), 'approved');

    await goOn();
    await page.locator('main[data-state=logged-in]').waitFor();
    await assertStoodStill(page, proof);
    assert.equal(await lastReceipt(service, 'alice', claim), 'delivered');
    assert.equal(await page.getByTestId('user').textContent(), 'alice');
  });
}
