// What `<scan-login>` promises to the page around it.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { PNG } from 'pngjs';
import { ANY_ORIGIN, keyUrl, listening, loggedIn, pageWith, view } from './support/embed.js';
import { DESKTOP, PHONE, part, readQr, scanAs, scanWithoutPage, state, story, verify } from './support/story.js';

const DIST = new URL('../../src/web/scan-login/dist/', import.meta.url);
const [SCRIPT, MAP] = ['scanlogin.js', 'scanlogin.js.map'].map((name) => readFileSync(new URL(name, DIST), 'utf8'));
const sha384 = (text) => createHash('sha384').update(text).digest('base64');

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

/** The code as it is on the screen, from its outermost black pixels: of `size` squares a side, each all black or all white. */
function squaresOf(screenshot, size) {
  const { data, width, height } = PNG.sync.read(screenshot);
  const colour = (x, y) => data.readUIntBE(4 * (y * width + x), 3);
  const black = [];
  for (let y = 0; y < height; y += 1) for (let x = 0; x < width; x += 1) if (colour(x, y) === 0) black.push([x, y]);
  const [left, top, right, bottom] = [Math.min, Math.max].flatMap((edge) => [0, 1].map((axis) => black.reduce((found, point) => edge(found, point[axis]), black[0][axis])));
  const pixels = (right + 1 - left) / size;
  const mixed = [];
  const quiet = new Set();
  for (let y = -4; y < size + 4; y += 1) {
    for (let x = -4; x < size + 4; x += 1) {
      const seen = new Set();
      for (let at = 0; at < pixels * pixels; at += 1) seen.add(colour(left + x * pixels + (at % pixels), top + y * pixels + Math.floor(at / pixels)));
      const outside = Math.min(x, y) < 0 || Math.max(x, y) >= size;
      if (outside) seen.forEach((one) => quiet.add(one));
      else if (seen.size > 1 || ![0, 0xffffff].includes([...seen][0])) mixed.push([x, y, ...seen]);
    }
  }
  return { pixels, square: right - left === bottom - top, mixed, quiet: [...quiet] };
}

for (const [width, options] of [[180, DESKTOP], [333, { ...DESKTOP, colorScheme: 'dark' }], [288, { ...PHONE, colorScheme: 'dark' }], [300, { ...DESKTOP, deviceScaleFactor: 1.5 }]]) {
  const scale = options.deviceScaleFactor ?? 1;
  story(`at ${width} pixels (${scale} to one${options.colorScheme ? ', dark' : ''}) the code is black squares of whole pixels on white, with four of quiet around it`, {
    env, embed: pageWith({ attributes: `style="--scan-login-qr-size: ${width}px; max-inline-size: none"` }),
  }, async ({ open, host }) => {
    const page = await open(host.origin, options);
    await keyUrl(page);
    const svg = part(page, 'qr').locator('svg');
    const size = Number((await svg.getAttribute('viewBox')).split(' ')[2]);
    const { pixels, square, mixed, quiet } = squaresOf(await part(page, 'qr').screenshot({ scale: 'device' }), size - 8);
    assert.ok(square && Number.isInteger(pixels) && pixels >= 2, `${pixels} pixels a square`);
    assert.deepEqual(mixed, []);
    assert.deepEqual(quiet, [0xffffff]);
  });
}

const ASLEEP = { env: { ...env, SCANLOGIN_WAIT_SECONDS: '600' }, embed, proxied: true, expected: [/WebSocket connection to .* failed/, /net::ERR_/] };
const installClock = async (page) => {
  await page.clock.install();
  await listening(page);
};
const remembered = (page) => page.evaluate(() => JSON.parse(sessionStorage.getItem('scanlogin.login'))?.resume);

story('a laptop that slept, and lost its line meanwhile, goes on with the same login', ASLEEP, async ({ open, host, service, proxy }) => {
  const page = await open(host.origin, DESKTOP, installClock);
  const before = await keyUrl(page);
  const resume = await remembered(page);
  proxy.goDown();
  await view(page, 'reconnecting');
  proxy.comeBack();
  await page.clock.fastForward('05:00');
  await view(page, 'waiting');
  assert.equal(await remembered(page), resume);
  await scanWithoutPage(service, before, 'alice');
  assert.equal((await loggedIn(page)).user, 'alice');
});

story('a laptop that slept longer than its login says so, and shows no dead code', ASLEEP, async ({ open, host, proxy }) => {
  const page = await open(host.origin, DESKTOP, installClock);
  await view(page, 'waiting');
  proxy.goDown();
  await view(page, 'reconnecting');
  await page.clock.fastForward('01:00:00');
  await view(page, 'expired');
  assert.ok(await part(page, 'qr').isHidden());
  proxy.comeBack();
  await page.getByRole('button', { name: 'Show a new code' }).click();
  await view(page, 'waiting');
});

story('what an instance serves is the package’s build, and a copy of it may be pinned by its hash', { env, embed: (origin) => pageWith({})(origin).replace('<script type="module"', `<script type="module" crossorigin integrity="sha384-${sha384(SCRIPT)}"`) }, async ({ open, host, origin }) => {
  for (const path of ['/scanlogin.js', '/v1/scanlogin.js']) {
    const answer = await fetch(origin + path);
    assert.equal(await answer.text(), SCRIPT);
    assert.equal(answer.headers.get('Access-Control-Allow-Origin'), '*');
    assert.equal(await (await fetch(`${origin}${path}.map`)).text(), MAP);
  }
  await keyUrl(await open(host.origin));
});

// What an app's claims may say about a person: the frame that the service would send, with these fields changed.
const claims = (fields) => (page) => page.routeWebSocket(/\/ws/, (socket) => {
  const server = socket.connectToServer();
  server.onMessage((text) => {
    const message = JSON.parse(text);
    socket.send(JSON.stringify(message.type === 'scanned' ? { ...message, ...fields } : message));
  });
});
const CONFIRM = { ...env, SCANLOGIN_CONFIRM: 'required' };
const DOT = 'data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///ywAAAAAAQABAAACAUwAOw==';

async function personOf({ open, host, service }, fields) {
  const page = await open(host.origin, DESKTOP, claims(fields));
  await scanWithoutPage(service, await keyUrl(page), 'alice');
  await view(page, 'scanned');
  return { name: await part(page, 'name').textContent(), initials: await part(page, 'picture').textContent(), image: await part(page, 'picture').locator('img').evaluateAll(([image]) => image?.getAttribute('src') ?? null) };
}

story('who scanned is words and never markup, and a picture elsewhere is not asked for', { env: CONFIRM, embed }, async (scene) => {
  const evil = await personOf(scene, { name: '<img src=x onerror=alert(1)>', picture: 'https://tracker.example/alice.png' });
  assert.match(evil.name, /<img src=x onerror=alert\(1\)>/);
  assert.equal(evil.image, null);
  const script = await personOf(scene, { name: 'Ada Lovelace', picture: 'javascript:alert(1)' });
  assert.deepEqual([script.initials, script.image], ['AL', null]);
  const own = await personOf(scene, { name: 'Ada Lovelace', picture: DOT });
  assert.deepEqual([own.initials, own.image], ['', DOT]);
  const turned = await personOf(scene, { name: '\u202Eecila', picture: undefined });
  assert.match(turned.name, /\u2068\u202Eecila\u2069/, 'it turns nothing around but itself');
});

story('a picture of a listed origin is shown, without telling from where', { env: CONFIRM, embed: pageWith({ attributes: 'picture-origins="https://cdn.example *"' }) }, async ({ open, host, service }) => {
  const picture = `${host.origin}/alice.png`;
  const page = await open(host.origin, DESKTOP, claims({ picture }));
  const url = await keyUrl(page);
  const asked = page.waitForRequest(picture);
  await scanWithoutPage(service, url, 'alice');
  assert.equal((await (await asked).allHeaders()).referer, undefined);
});

story('a login that was not acknowledged before a reload is said again', { env, embed }, async ({ open, host, service }) => {
  const page = await open(host.origin, DESKTOP, async (page) => {
    await listening(page);
    await page.addInitScript(() => {
      if (sessionStorage.getItem('lost')) return;
      const { send } = WebSocket.prototype;
      WebSocket.prototype.send = function (text) {
        if (!text.includes('"received"')) return send.call(this, text);
        sessionStorage.setItem('lost', 'once');
      };
      // A page that is left says it in this way too.
      globalThis.fetch = async () => {
        throw new TypeError('lost');
      };
    });
  });
  await scanWithoutPage(service, await keyUrl(page), 'alice');
  const first = await loggedIn(page);
  await page.reload();
  assert.equal((await loggedIn(page)).token, first.token);
  await page.waitForFunction(() => sessionStorage.getItem('scanlogin.login') === null);
  assert.equal((await verify(service, first.token)).status, 200);
});
