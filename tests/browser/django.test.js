// The Django example behind nginx: what the Channels consumer did is done by the service, and the old page does not notice.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { fileURLToPath } from 'node:url';
import { startBackend } from './support/backend.js';
import { keyUrl } from './support/embed.js';
import { newKey, tokens, withKey, withSecret } from './support/forge.js';
import { ROOT, blocksUnder } from './support/markdown.js';
import { runNginx } from './support/nginx.js';
import { freePort } from './support/port.js';
import { runAndCompare } from './support/shell.js';
import { readQr, story } from './support/story.js';

const PYTHON = fileURLToPath(new URL('../.tools/django/bin/python', import.meta.url));
const skip = existsSync(PYTHON) ? false : 'Django is not installed: tests/run does it, where there is a Python';
const cwd = join(ROOT, 'docs/examples/django');
const folder = mkdtempSync(join(tmpdir(), 'django-'));
after(() => rmSync(folder, { recursive: true }));

// What docs/examples/README.md prints: the server, nginx, a phone.
const [server, , asPhone] = await blocksUnder('docs/examples/README.md', 'Django in place of the consumer');
const [, , exported, migrate, createUser, serve] = server.text.trim().split('\n');
const [, APP_SECRET] = exported.match(/APP_JWT_SECRET=(\S+)/);
const PASSWORD = 'correct horse battery staple';
const key = newKey();
writeFileSync(join(folder, 'token.pem'), key.pem, { mode: 0o600 });
const env = {
  SCANLOGIN_APP_JWT_SECRET: APP_SECRET,
  SCANLOGIN_TOKEN_PRIVATE_KEY_FILE: join(folder, 'token.pem'),
  SCANLOGIN_TOKEN_AUDIENCE: 'shop',
};
const django = { APP_JWT_SECRET: APP_SECRET, DJANGO_DATABASE: join(folder, 'db.sqlite3'), PYTHONDONTWRITEBYTECODE: '1' };

if (!skip) {
  for (const command of [migrate, `${createUser} --noinput`]) {
    execFileSync('bash', ['-c', command.replace('python3', PYTHON)], {
      cwd, stdio: 'pipe', env: { ...process.env, ...django, DJANGO_SUPERUSER_PASSWORD: PASSWORD },
    });
  }
}

/** Django, and nginx with the example's own configuration in front of it and of the service. */
const shop = (settings) => async (service) => {
  const port = await freePort();
  const backend = await startBackend(`exec ${PYTHON} ${serve.replace(/^python3 /, '').replace('8001', port)} --noreload`, {
    cwd, port, env: { ...django, SERVICE: service.origin, ...settings },
  });
  const nginx = await runNginx((listen) => readFileSync(join(cwd, 'nginx.conf'), 'utf8')
    .replace('127.0.0.1:8000', `127.0.0.1:${listen}`)
    .replace('127.0.0.1:8080', service.address)
    .replace('127.0.0.1:8001', `127.0.0.1:${port}`));
  return {
    origin: `http://${nginx.address}`,
    async stop() {
      await nginx.stop();
      await backend.stop();
    },
  };
};

const post = async (url, body, headers) => (await fetch(url, { method: 'POST', body: new URLSearchParams(body), headers })).json();

/** A phone: logged in to the app by name and password. */
async function phone(origin) {
  const { token } = await post(`${origin}/app/login`, { username: 'alice', password: PASSWORD });
  return { Authorization: `Bearer ${token}` };
}

/** It shows what it photographed. */
const scan = async (origin, held) => post(`${origin}/scan`, { key: held }, await phone(origin));
const expected = [/favicon\.ico/];
const SAID = { code: 100, msg: 'Sao successfully' };
const drawn = (page) => page.locator('#qrcode img[src^="data:image/png"]').waitFor();

story('the old page’s client works as it did with the consumer', { env, skip, expected, beside: shop({ VERIFY: 'ask' }) }, async ({ open, host, service }) => {
  const page = await open(`${host.origin}/old`);
  await drawn(page);
  const held = readQr(await page.screenshot());
  assert.match(held, /^[A-Za-z0-9_-]{22,128}$/, 'the key alone, as it was');
  const [{ claim }] = await runAndCompare(asPhone, { KEY: held, PASSWORD }, [['http://127.0.0.1:8000', host.origin]]);
  await page.getByText('Hello, alice').waitFor();
  const token = await page.evaluate(() => localStorage.getItem('token'));
  const me = () => fetch(`${host.origin}/me`, { headers: { Authorization: `Bearer ${token}` } });
  assert.equal((await me()).status, 200);

  assert.deepEqual(await scan(host.origin, held), { ...SAID, claim }, 'a phone that repeats itself');
  const wrong = await scan(host.origin, 'a'.repeat(64));
  assert.deepEqual([wrong.code, wrong.msg], [-1, 'Key does not exist']);

  await fetch(`${service.origin}/logout`, { method: 'POST', headers: { Authorization: `Bearer ${token}` } });
  assert.equal((await me()).status, 401, 'Django asks the service');
});

// The second code must last until it has been read off the screen.
story('the old page is told "again" in the end, and begins anew by a click', { env: { ...env, SCANLOGIN_WAIT_SECONDS: '8' }, skip, expected, beside: shop() }, async ({ open, host }) => {
  const page = await open(`${host.origin}/old`);
  await page.getByText('The code has expired').click();
  await drawn(page);
  await scan(host.origin, readQr(await page.screenshot()));
  await page.getByText('Hello, alice').waitFor();
});

story('the page with the element becomes a session of Django’s, which ends with the web login', { env, skip, expected: [...expected, /status of 401/], beside: shop({ PUBLIC_SERVICE: '', ASK_EVERY_SECONDS: '0' }) }, async ({ open, host, service }) => {
  const page = await open(host.origin);
  await scan(host.origin, await keyUrl(page));
  await page.getByText('Hello, alice').waitFor();
  const [cookie] = (await page.context().cookies()).filter(({ name }) => name === 'sessionid');
  assert.equal(cookie.httpOnly, true);
  assert.equal(await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }])), '[{},{}]', 'no script has the token');
  await page.reload();
  await page.getByText('Hello, alice').waitFor();
  await page.getByRole('button', { name: 'Log out' }).click();
  await scan(host.origin, await keyUrl(page));
  await page.getByText('Hello, alice').waitFor();

  // In the app: "log my browser out".
  await fetch(`${service.origin}/weblogin`, { method: 'DELETE', headers: await phone(host.origin) });
  await page.reload();
  await keyUrl(page);

  const forged = await fetch(`${host.origin}/session`, { method: 'POST', body: '{"token":"x"}' });
  assert.equal(forged.status, 403, 'no page elsewhere can log somebody in here');
});

const { good, bad } = tokens({
  own: withKey(key),
  header: { alg: 'EdDSA', kid: key.kid },
  audience: 'shop',
  others: {
    'the public key taken for a secret': [{ alg: 'HS256' }, withSecret(key.publicKey)],
    'another key under this name': [{}, withKey(newKey())],
    'no name of a key': [{ kid: undefined }, withKey(key)],
  },
});
for (const [VERIFY, accepted] of [['jwks', 200], ['ask', 401]]) {
  story(`Django, VERIFY=${VERIFY}: nothing but a web token is taken for one`, { env, skip, beside: shop({ VERIFY }) }, async ({ host }) => {
    const me = async (token) => (await fetch(`${host.origin}/me`, { headers: { Authorization: `Bearer ${token}` } })).status;
    for (const [what, token] of Object.entries(bad)) assert.equal(await me(token), 401, what);
    assert.equal(await me(good), accepted);
  });
}
