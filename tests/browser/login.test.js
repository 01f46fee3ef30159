import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { DESKTOP, PHONE, readQrOf, scanAs, state, story, tokenOf, verify } from './support/story.js';

const REFUSED = (status) => new RegExp(`Failed to load resource.* ${status}`);

story('the page shows a QR code whose picture holds the address of the simulator and the key', {}, async ({ open, origin }) => {
  const page = await open('/');
  const url = await readQrOf(page);
  assert.ok(url?.startsWith(`${origin}/s#`), `decoded: ${url}`);
  assert.match(url.split('#')[1], /^[A-Za-z0-9_-]{22,128}$/);
  assert.equal(await page.getByTestId('simulator').evaluate((link) => link.href), url);
  assert.match(await page.locator('scan-login time').textContent(), /^[12]:\d\d$/);
});

story('the QR code can be read in the dark and on a phone screen too', {}, async ({ open, origin }) => {
  for (const options of [{ ...DESKTOP, colorScheme: 'dark' }, { ...PHONE, colorScheme: 'dark' }, PHONE]) {
    const url = await readQrOf(await open('/', options));
    assert.ok(url?.startsWith(`${origin}/s#`), `decoded: ${url}`);
  }
});

story('a phone that scans the code logs the page in, and log-out ends it', {}, async ({ open, service }) => {
  const page = await open('/');
  const phone = await scanAs(open, await readQrOf(page), 'alice');

  await state(page, 'logged-in');
  assert.equal(await page.getByTestId('user').textContent(), 'alice');
  await phone.locator('main:is([data-state=delivered], [data-state=done])').waitFor();

  const token = await tokenOf(page);
  const verified = await verify(service, token);
  assert.equal(verified.status, 200);
  const facts = await verified.json();
  assert.deepEqual([facts.code, facts.user, facts.platform], [100, 'alice', 'web']);
  const until = await page.getByTestId('until').getAttribute('datetime');
  assert.equal(Date.parse(until) / 1000, facts.expires_at);

  await page.getByTestId('log-out').click();
  await state(page, 'waiting');
  assert.equal((await verify(service, token)).status, 401);
  assert.equal(await tokenOf(page), null);
});

story('opening the link decides nothing: the phone waits for a tap', {}, async ({ open }) => {
  const page = await open('/');
  const phone = await open(await readQrOf(page), PHONE);
  const calls = [];
  phone.on('request', (request) => request.method() === 'POST' && calls.push(request.url()));
  await phone.getByTestId('user-bob').click();
  await phone.getByRole('button', { name: 'Log in this browser as Bob' }).waitFor();
  assert.deepEqual(calls, []);
  assert.equal(await page.locator('main').getAttribute('data-state'), 'waiting');
});

story('the key can be copied from the page and pasted into the simulator', {}, async ({ open, origin }) => {
  const page = await open('/');
  await state(page, 'waiting');
  await page.context().grantPermissions(['clipboard-read', 'clipboard-write'], { origin });
  await page.getByTestId('copy').click();
  await page.getByRole('button', { name: 'Copied' }).waitFor();
  const key = await page.evaluate(() => navigator.clipboard.readText());

  const phone = await open('/phone', PHONE);
  await phone.getByTestId('user-bob').click();
  await phone.getByTestId('key').fill(key);
  await phone.getByTestId('submit').click();
  await state(page, 'logged-in');
  assert.equal(await page.getByTestId('user').textContent(), 'bob');
});

story('a reload keeps the user logged in', {}, async ({ open }) => {
  const page = await open('/');
  await scanAs(open, await readQrOf(page), 'alice');
  await state(page, 'logged-in');
  await page.reload();
  await state(page, 'logged-in');
  assert.equal(await page.getByTestId('user').textContent(), 'alice');
});

story('a token that was revoked elsewhere gives a fresh login on the next visit', { expected: [REFUSED(401)] }, async ({ open, service }) => {
  const page = await open('/');
  await scanAs(open, await readQrOf(page), 'alice');
  await state(page, 'logged-in');
  const token = await tokenOf(page);
  await fetch(`${service.origin}/logout`, { method: 'POST', headers: { Authorization: `Bearer ${token}` } });
  await page.reload();
  await state(page, 'waiting');
  assert.equal(await tokenOf(page), null);
});

story('an expired code offers a way to go on, which shows a new one', { env: { SCANLOGIN_WAIT_SECONDS: '5' } }, async ({ open }) => {
  const page = await open('/');
  const first = await readQrOf(page);
  await state(page, 'expired');
  await page.getByRole('button', { name: 'Show a new code' }).click();
  const second = await readQrOf(page);
  assert.ok(second);
  assert.notEqual(second, first);
});

story('a cancelled code is no longer good', { expected: [REFUSED(404)] }, async ({ open }) => {
  const page = await open('/');
  const url = await readQrOf(page);
  await page.getByTestId('cancel').click();
  await state(page, 'cancelled');
  const phone = await scanAs(open, url, 'alice');
  await phone.locator('main[data-state=error][data-code="-1"]').waitFor();
});

story('an unknown key is explained to the person with the phone', { expected: [REFUSED(404)] }, async ({ open }) => {
  const phone = await scanAs(open, `/s#${randomBytes(32).toString('base64url')}`, 'alice');
  await phone.locator('main[data-state=error]').waitFor();
  assert.equal(await phone.locator('main').getAttribute('data-code'), '-1');
  assert.match(await phone.getByTestId('problem').textContent(), /This code is not known/);
});

story('what is no key at all is explained too', { expected: [REFUSED('40\\d')] }, async ({ open }) => {
  const phone = await open('/phone', PHONE);
  await phone.getByTestId('submit').click();
  assert.match(await phone.getByTestId('problem').textContent(), /Scan the code/);
  await phone.getByTestId('key').fill('hello world');
  await phone.getByTestId('submit').click();
  await phone.locator('main[data-state=error][data-code="-1"]').waitFor();
  const problem = await phone.getByTestId('problem').textContent();
  assert.match(problem, /no login code/);
  assert.doesNotMatch(problem, /expired/);
});

for (const [what, dress] of Object.entries({
  'quotes and a full stop': (url) => `“${url}”.`,
  'an encoded #': (url) => url.replace('#', '%23'),
  'a messenger’s parameter': (url) => `${url}&fbclid=IwAR0abc`,
  'marks that nobody sees': (url) => `\u200e${url}?utm_source=chat\u200b`,
})) {
  story(`a key is found in what is pasted: ${what}`, {}, async ({ open }) => {
    const page = await open('/');
    const phone = await open('/phone', PHONE);
    await phone.getByTestId('user-alice').click();
    await phone.getByTestId('key').fill(dress(await readQrOf(page)));
    await phone.getByTestId('submit').click();
    await state(page, 'logged-in');
  });
}

story('a code that somebody else has used is refused to the next', { expected: [REFUSED('(404|409)')] }, async ({ open }) => {
  const page = await open('/');
  const url = await readQrOf(page);
  await scanAs(open, url, 'alice');
  await state(page, 'logged-in');
  const late = await scanAs(open, url, 'bob');
  await late.locator('main[data-state=error]:is([data-code="-1"], [data-code="-3"])').waitFor();
});

story('where the browser can read codes, the simulator offers its camera', {}, async ({ open }) => {
  const page = await open('/');
  const url = await readQrOf(page);
  // Chromium on Linux has no BarcodeDetector and this machine no camera, so both are played here.
  const phone = await open('/phone', PHONE, (page) => page.addInitScript((rawValue) => {
    const looks = [[], [], [{ rawValue }]];
    globalThis.BarcodeDetector = class {
      static getSupportedFormats = async () => ['qr_code'];
      detect = async () => looks.shift() ?? [];
    };
    const canvas = document.createElement('canvas');
    const brush = canvas.getContext('2d');
    setInterval(() => brush.fillRect(0, 0, 9, 9), 50);
    navigator.mediaDevices.getUserMedia = async () => canvas.captureStream();
  }, url));
  await phone.getByRole('button', { name: 'Scan with the camera' }).click();
  await phone.waitForFunction((expected) => document.querySelector('#key').value === expected, url);
  await phone.getByTestId('submit').click();
  await state(page, 'logged-in');
});

story('with the keyboard alone one can cancel and go on, and the focus is never lost', {}, async ({ open }) => {
  const page = await open('/');
  await state(page, 'waiting');
  await page.getByTestId('cancel').focus();
  await page.keyboard.press('Enter');
  await state(page, 'cancelled');
  const focused = () => page.evaluate(() => document.activeElement.shadowRoot?.activeElement.textContent ?? document.activeElement.id);
  assert.equal(await focused(), 'headline');
  await page.keyboard.press('Tab');
  assert.equal(await focused(), 'Show a new code');
  await page.keyboard.press('Enter');
  await state(page, 'waiting');
});

story('the code is exchanged by itself, and the one just photographed is still good', { env: { SCANLOGIN_ROTATE_SECONDS: '5' } }, async ({ open }) => {
  const page = await open('/');
  const first = await readQrOf(page);
  await page.waitForFunction((url) => document.querySelector('#simulator').href !== url, first);
  const second = await readQrOf(page);
  assert.ok(second);
  assert.notEqual(second, first);
  await scanAs(open, first, 'alice');
  await state(page, 'logged-in');
});

story('a page that a full service turned away goes on once there is room', { env: { SCANLOGIN_MAX_WAITING: '1' }, expected: [/WebSocket connection to .* failed/, /status of 503/] }, async ({ open }) => {
  const first = await open('/');
  await state(first, 'waiting');
  const second = await open('/');
  await state(second, 'unavailable');
  await first.close();
  await state(second, 'waiting');
});
