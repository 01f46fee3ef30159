// What `<scan-login>` promises to the page around it.
import assert from 'node:assert/strict';
import { ANY_ORIGIN, keyUrl, listening, loggedIn, pageWith, view } from './support/embed.js';
import { DESKTOP, PHONE, part, readQr, scanAs, state, story, verify } from './support/story.js';

const env = ANY_ORIGIN;
const embed = pageWith();
const REFUSED = [/Failed to load resource.* 404/];

for (const [width, options] of [[100, PHONE], [180, DESKTOP], [333, { ...DESKTOP, colorScheme: 'dark' }], [700, { ...DESKTOP, viewport: { width: 1280, height: 1200 } }]]) {
  const attributes = `style="--scan-login-qr-size: ${width}px; max-inline-size: none"`;
  story(`the code can be read at ${width} pixels`, { env, embed: pageWith({ attributes }) }, async ({ open, host, origin }) => {
    const page = await open(host.origin, options);
    const url = await keyUrl(page);
    assert.ok(url.startsWith(`${origin}/s#`), url);
    // Closer, as a camera would go.
    const code = await part(page, 'qr').screenshot({ scale: 'device' });
    assert.equal(readQr(code), url);
  });
}

story('the page is told once who is logged in, with a token that is good', { env, embed }, async ({ open, host, service }) => {
  const page = await open(host.origin, DESKTOP, listening);
  await scanAs(open, await keyUrl(page), 'alice');
  const detail = await loggedIn(page);
  assert.deepEqual([detail.user, detail.tokenType], ['alice', 'Bearer']);
  assert.ok(detail.expiresIn > 0);
  assert.equal((await verify(service, detail.token)).status, 200);
  await view(page, 'logged-in');
  assert.equal(await page.evaluate(() => globalThis.logins.length), 1);
});

story('a page that leaves at once has acknowledged', { env, embed }, async ({ open, host }) => {
  const page = await open(host.origin, DESKTOP, (page) => page.addInitScript(() => {
    addEventListener('login', () => location.assign('/elsewhere'));
  }));
  const phone = await scanAs(open, await keyUrl(page), 'alice');
  await state(phone, 'delivered');
});

story('a reload goes on with the same login', { env, embed }, async ({ open, host }) => {
  const page = await open(host.origin, DESKTOP, listening);
  const url = await keyUrl(page);
  await page.reload();
  await view(page, 'waiting');
  await scanAs(open, url, 'bob');
  assert.equal((await loggedIn(page)).user, 'bob');
});

story('moved within its page it keeps its login; taken out it ends it', { env, embed, expected: REFUSED }, async ({ open, host }) => {
  const page = await open(host.origin);
  const url = await keyUrl(page);
  await page.evaluate(() => document.body.append(document.querySelector('scan-login')));
  assert.equal(await keyUrl(page), url);
  await page.evaluate(() => document.querySelector('scan-login').remove());
  await page.waitForFunction(() => sessionStorage.getItem('scanlogin.login') === null);
  const phone = await scanAs(open, url, 'alice');
  await phone.locator('main[data-state=error][data-code="-1"]').waitFor();
});

story('another endpoint is another login', { env, embed, expected: REFUSED }, async ({ open, host, origin }) => {
  const page = await open(host.origin);
  const url = await keyUrl(page);
  await page.evaluate((other) => document.querySelector('scan-login').setAttribute('endpoint', other), `${origin}/other/..`);
  await page.waitForFunction((old) => ![undefined, old].includes(document.querySelector('scan-login').client.login?.url), url);
  const phone = await scanAs(open, url, 'alice');
  await phone.locator('main[data-state=error][data-code="-1"]').waitFor();
});

for (const [lang, headline] of [['zh-CN', '用手机登录'], ['de', 'Mit dem Handy anmelden'], ['es-MX', 'Inicie sesión con su móvil'], ['ja', 'スマートフォンでログイン'], ['fi', 'Log in with your phone']]) {
  story(`a page in ${lang} gets an element that says "${headline}"`, { env, embed: pageWith({ lang }) }, async ({ open, host }) => {
    const page = await open(host.origin);
    await view(page, 'waiting');
    assert.equal(await part(page, 'headline').textContent(), headline);
    assert.equal(await part(page, 'frame').getAttribute('lang'), lang === 'fi' ? 'en' : lang.slice(0, 2));
  });
}

story('a page may say it in its own words', { env, embed: pageWith({ attributes: 'text-waiting="Moi" text-left="Aikaa"' }) }, async ({ open, host }) => {
  const page = await open(host.origin);
  await view(page, 'waiting');
  assert.equal(await part(page, 'headline').textContent(), 'Moi');
  assert.match(await part(page, 'countdown').textContent(), /^Aikaa [12]:\d\d$/);
  await page.evaluate(() => (document.querySelector('scan-login').texts = { 'waiting-hint': 'Lue koodi' }));
  assert.equal(await part(page, 'hint').textContent(), 'Lue koodi');
});

story('neither the countdown nor a new code is said aloud', { env: { ...env, SCANLOGIN_ROTATE_SECONDS: '5' }, embed }, async ({ open, host }) => {
  const page = await open(host.origin);
  await view(page, 'waiting');
  const changes = await page.evaluate(async () => {
    const element = document.querySelector('scan-login');
    const seen = [];
    for (const region of element.shadowRoot.querySelectorAll('[aria-live]:not([aria-live=off]), [role=alert], output')) {
      new MutationObserver((records) => seen.push(...records.map((record) => record.target.textContent)))
        .observe(region, { subtree: true, childList: true, characterData: true });
    }
    await new Promise((resolve) => element.addEventListener('change', () => element.client.login.seq > 1 && resolve()));
    return seen;
  });
  assert.deepEqual(changes, []);
});

story('who asked for less motion sees none', { env, embed: pageWith({ attributes: 'manual' }), proxied: true }, async ({ open, host, proxy }) => {
  const page = await open(host.origin);
  await view(page, 'idle');
  proxy.goMute();
  await page.getByRole('button').click();
  const moving = () => part(page, 'spinner').evaluate((spinner) => spinner.getAnimations().length);
  assert.equal(await moving(), 1);
  await page.emulateMedia({ reducedMotion: 'reduce' });
  assert.equal(await moving(), 0);
});

const headers = (origin) => ({
  'Content-Security-Policy': `default-src 'none'; script-src ${origin}; style-src 'sha256-5voCURZEtQIzNin57LPkheyJlSuOgqP1LGrTCqDbfr0='; `
    + `connect-src ${origin} ${origin.replace('http', 'ws')}; require-trusted-types-for 'script'; trusted-types 'none'`,
});
story('a strict content security policy and Trusted Types have nothing to object', { env: { ...env, SCANLOGIN_CONFIRM: 'required' }, embed, headers }, async ({ open, host }) => {
  const page = await open(host.origin, DESKTOP, listening);
  const url = await keyUrl(page);
  assert.equal(readQr(await page.screenshot()), url);
  const phone = await scanAs(open, url, 'alice');
  await view(page, 'scanned');
  await phone.getByTestId('approve').click();
  assert.equal((await loggedIn(page)).user, 'alice');
});

story('a page whose origin is not listed is told where to look', { env: { SCANLOGIN_ALLOWED_ORIGINS: 'https://shop.example' }, embed, expected: [/WebSocket connection to .* failed/, /CORS policy/, /net::ERR_FAILED/] }, async ({ open, host }) => {
  const told = [];
  const page = await open(host.origin, DESKTOP, async (page) => void page.on('console', (message) => told.push(message.text())));
  await view(page, 'unavailable');
  assert.ok(told.some((text) => text.includes('SCANLOGIN_ALLOWED_ORIGINS') && text.includes(host.origin)), told.join('\n'));
});
