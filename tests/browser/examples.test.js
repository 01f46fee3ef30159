// The backends of docs/examples: each serves its page, a login works, and a token that is none gets nowhere.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { missing, startBackend } from './support/backend.js';
import { keyUrl } from './support/embed.js';
import { keyOf, newKey, tokens, withKey, withSecret } from './support/forge.js';
import { ROOT, blocksUnder } from './support/markdown.js';
import { freePort } from './support/port.js';
import { lastReceipt } from './support/receipt.js';
import { DESKTOP, scanWithoutPage, story } from './support/story.js';

const folder = mkdtempSync(join(tmpdir(), 'examples-'));
after(() => rmSync(folder, { recursive: true }));

// What docs/examples/README.md prints: the service, and one server after the other.
const [service, node, go, java] = await blocksUnder('docs/examples/README.md', 'Try one');
const [makeKey, ...settings] = service.text.trim().split('\n');
assert.equal(settings.pop(), 'cargo run');
execFileSync('bash', ['-c', makeKey], { cwd: folder, stdio: 'pipe' });
const SERVICE = Object.fromEntries(settings.flatMap((line) => line.split(' ').slice(1)).map((one) => one.split(/=(.*)/s).slice(0, 2)));
const AUDIENCE = SERVICE.SCANLOGIN_TOKEN_AUDIENCE;
const SECRET = 'a secret of thirty-two bytes or more';
const key = keyOf(readFileSync(join(folder, SERVICE.SCANLOGIN_TOKEN_PRIVATE_KEY_FILE)));

const WITH_KEY = { SCANLOGIN_TOKEN_PRIVATE_KEY_FILE: join(folder, SERVICE.SCANLOGIN_TOKEN_PRIVATE_KEY_FILE) };
const WITH_SECRET = { SCANLOGIN_TOKEN_PRIVATE_KEY_FILE: undefined, SCANLOGIN_TOKEN_SECRET: SECRET };
const byKey = tokens({
  own: withKey(key),
  header: { alg: 'EdDSA', kid: key.kid },
  audience: AUDIENCE,
  others: {
    'the public key taken for a secret': [{ alg: 'HS256' }, withSecret(key.publicKey)],
    'another key under this name': [{}, withKey(newKey())],
    'no name of a key': [{ kid: undefined }, withKey(key)],
    'another algorithm in the header': [{ alg: 'ES256' }, withKey(key)],
  },
});
const bySecret = tokens({
  own: withSecret(SECRET),
  header: { alg: 'HS256' },
  audience: AUDIENCE,
  others: { 'another algorithm in the header': [{ alg: 'HS512' }, withSecret(SECRET)], 'an empty secret': [{}, withSecret('')] },
});
// Where the service is asked, not even the twin of a good token is one: there is no such login.
const asked = { bad: { ...byKey.bad, 'a good twin of no login': byKey.good } };

const BACKENDS = [
  { name: 'Node, by the key set', block: node, env: { VERIFY: 'jwks' }, signing: WITH_KEY, forged: byKey, seesLogOut: false },
  { name: 'Node, by asking', block: node, env: { VERIFY: 'ask' }, signing: WITH_KEY, forged: asked, seesLogOut: true },
  { name: 'Node, by the secret', block: node, env: { VERIFY: 'secret', TOKEN_SECRET: SECRET }, signing: WITH_SECRET, forged: bySecret, seesLogOut: false },
  { name: 'Go, by the key set', block: go, signing: WITH_KEY, forged: byKey, seesLogOut: false, skip: missing('go', 'version') },
  { name: 'Java, by the key set', block: java, signing: WITH_KEY, forged: byKey, seesLogOut: false, skip: missing('javac', '-version') },
];

async function keySetCalls({ admin }) {
  const metrics = await (await fetch(`${admin}/metrics`)).text();
  return Number(metrics.match(/^scanlogin_http_requests_total\{route="\/\.well-known\/jwks\.json",status="200"\} (\d+)$/m)[1]);
}

// Nothing is waited for between the stories: a runner that has nothing to do meanwhile takes them for all.
const [pagePort, ...ports] = await Promise.all([freePort(), ...BACKENDS.map(freePort)]);

BACKENDS.forEach(({ name, block, env, signing, forged, seesLogOut, skip }, index) => {
  const port = ports[index];
  const allowed = SERVICE.SCANLOGIN_ALLOWED_ORIGINS.replace(':8000', `:${port}`);
  const settings = {
    skip,
    env: { ...SERVICE, ...signing, SCANLOGIN_ALLOWED_ORIGINS: allowed },
    expected: [/status of 401/, /favicon\.ico/],
    beside: (service) => startBackend(block.text.replaceAll('/tmp/shop', join(folder, 'java')), {
      cwd: ROOT, port, env: { ...env, SERVICE: service.origin, AUDIENCE },
    }),
  };
  story(`${name}: a login works, and nothing else is taken for one`, settings, async ({ open, host, service }) => {
    const me = (token) => fetch(`${host.origin}/me`, { headers: { Authorization: `Bearer ${token}` } });
    assert.equal((await fetch(`${host.origin}/me`)).status, 401, 'nobody');
    for (const [what, token] of Object.entries(forged.bad)) assert.equal((await me(token)).status, 401, what);
    if (forged.good) assert.deepEqual(await (await me(forged.good)).json(), { user: 'mallory' }, 'what is refused above is refused for its own reason');

    const page = await open(host.origin);
    const url = await keyUrl(page);
    await scanWithoutPage(service, url, 'alice');
    await page.getByText('Hello, alice').waitFor();
    const token = await page.evaluate(() => sessionStorage.getItem('token'));
    await page.reload();
    await page.getByText('Hello, alice').waitFor();

    await page.getByRole('button', { name: 'Log out' }).click();
    await keyUrl(page);
    assert.equal((await me(token)).status, seesLogOut ? 401 : 200, 'after the log-out');
    if (forged === byKey) assert.ok((await keySetCalls(service)) <= 2, 'the key set is kept');
  });
});

/** Loses every acknowledgement of the page, on whatever way it goes, in so many of its loads. */
const losing = (loads) => (page) => page.addInitScript((most) => {
  const loads = Number(sessionStorage.getItem('loads')) + 1;
  sessionStorage.setItem('loads', loads);
  if (loads > most) return;
  const { send } = WebSocket.prototype;
  WebSocket.prototype.send = function (text) {
    if (!text.includes('"received"')) send.call(this, text);
  };
  const { fetch } = globalThis;
  globalThis.fetch = async (url, ...rest) => {
    if (String(url).includes('/stream/message')) throw new TypeError('lost');
    return fetch(url, ...rest);
  };
}, loads);

const pageOf = (more) => ({
  env: { ...SERVICE, ...WITH_KEY, ...more, SCANLOGIN_ALLOWED_ORIGINS: SERVICE.SCANLOGIN_ALLOWED_ORIGINS.replace(':8000', `:${pagePort}`) },
  expected: [/status of 401/, /favicon\.ico/],
  beside: (service) => startBackend(node.text, { cwd: ROOT, port: pagePort, env: { VERIFY: 'ask', SERVICE: service.origin, AUDIENCE } }),
});

story('the page gives up a token whose acknowledgement never arrived', pageOf({ SCANLOGIN_RESUME_SECONDS: '3' }), async ({ open, host, service }) => {
  const page = await open(host.origin, DESKTOP, losing(99));
  await scanWithoutPage(service, await keyUrl(page), 'alice');
  await page.getByText('Hello, alice').waitFor();
  await keyUrl(page);
  assert.equal(await page.evaluate(() => sessionStorage.getItem('token')), null);
  assert.equal(await page.getByText('Hello, alice').count(), 0);
});

story('the page acknowledges after a reload what it could not acknowledge before', pageOf({}), async ({ open, host, service }) => {
  const page = await open(host.origin, DESKTOP, losing(1));
  const { claim } = await scanWithoutPage(service, await keyUrl(page), 'alice');
  await page.getByText('Hello, alice').waitFor();
  await page.reload();
  assert.equal(await lastReceipt(service, 'alice', claim), 'delivered');
  await page.getByText('Hello, alice').waitFor();
});
