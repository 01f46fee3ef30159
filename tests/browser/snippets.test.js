// What README.md, docs/ (backend.md, embedding.md, protocol.md, webhook.md) and src/web/scan-login/README.md print for a
// shell, a page or a line of their own: run against the real service, and the answers compared with the printed ones.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { createHash, createHmac } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { ANY_ORIGIN, keyUrl, listening as hearing, loggedIn, pageWith, view } from './support/embed.js';
import { ROOT, blocksUnder } from './support/markdown.js';
import { freePort, listening } from './support/port.js';
import { people } from './support/people.js';
import { BINARY } from './support/service.js';
import { runAndCompare, runPrinted, sameShape } from './support/shell.js';
import { DESKTOP, appToken, part, scanWithoutPage, story } from './support/story.js';

const [[, onTheNetwork], [asApp], [ask], [run], [redeem, deliver], [end], [plain], [whole, resumed], [stream, poll, message], [, hash], [css], [check], [bundled]] = await Promise.all([
  ['README.md', 'Try it'],
  ['README.md', 'Put it into your app'],
  ['README.md', 'Put it into your backend'],
  ['README.md', 'Run it'],
  ['docs/backend.md', 'A cookie that no script can read'],
  ['docs/backend.md', 'Ending a web login from elsewhere'],
  ['docs/protocol.md', 'The plain protocol'],
  ['docs/protocol.md', 'JSON over a WebSocket'],
  ['docs/protocol.md', 'Where WebSockets are blocked'],
  ['docs/embedding.md', 'Embedding'],
  ['docs/embedding.md', 'Looks'],
  ['docs/webhook.md', 'What it is asked'],
  ['src/web/scan-login/README.md', 'scanlogin-element'],
].map(([page, heading]) => blocksUnder(page, heading)));

const folder = mkdtempSync(join(tmpdir(), 'snippets-'));
after(() => rmSync(folder, { recursive: true }));
const SERVICE = 'https://login.example.com';
const CONFIRM = { SCANLOGIN_CONFIRM: 'required' };
const embed = pageWith();

story('the calls of an app and of a backend, as printed', { env: ANY_ORIGIN, embed }, async ({ open, host, service }) => {
  const page = await open(host.origin, DESKTOP, hearing);
  const KEY = await keyUrl(page);
  const APP_JWT = await appToken(service, 'alice');
  const here = [[SERVICE, service.origin]];
  const [scan, outcome] = asApp.text.split('\n\n');
  const [{ claim }] = await runAndCompare({ ...asApp, text: scan }, { APP_JWT }, [...here, ['<what the QR code held: the key, or the whole URL>', KEY]]);
  const { token: TOKEN } = await loggedIn(page);
  await runAndCompare({ ...asApp, text: outcome }, { APP_JWT }, [...here, ['Scanlogin-Claim: ...', `Scanlogin-Claim: ${claim}`]]);

  const { expected, answers: [verified, loggedOut] } = await runPrinted(ask, { TOKEN }, here);
  sameShape(verified, expected[0], `line ${ask.line}`);
  assert.equal(loggedOut.code, 100);
});

const ADMIN_TOKEN = 'the-admin-token-of-these-tests-is-long-enough';

story('seeing and ending a web login, as printed', { env: { ...ANY_ORIGIN, ...CONFIRM, SCANLOGIN_ADMIN_TOKEN: ADMIN_TOKEN }, embed }, async ({ open, host, service }) => {
  const APP_JWT = await appToken(service, 'alice');
  const here = [[SERVICE, service.origin], ['http://127.0.0.1:8081', service.admin]];
  const logIn = async () => {
    const page = await open(host.origin, DESKTOP, hearing);
    await scanWithoutPage(service, await keyUrl(page), 'alice', { confirm: true });
    await loggedIn(page);
    await view(page, 'logged-in');
    await page.waitForFunction(() => sessionStorage.getItem('scanlogin.login') === null);
  };
  await logIn();
  const lines = end.text.split('\n');
  const byUser = { ...end, text: lines.filter((line) => !line.includes('/revoke') && !line.includes('"ended"')).join('\n') };
  const { expected: [seen], answers: [shown, ended] } = await runPrinted(byUser, { APP_JWT }, here);
  sameShape(shown, seen, `line ${end.line}`);
  assert.equal(ended.code, 100);
  await logIn();
  await runAndCompare({ ...end, text: lines.slice(lines.findIndex((line) => line.includes('/revoke'))).join('\n') }, { ADMIN_TOKEN }, here);
});

/** What a page and the service say on a socket, line by line as docs/protocol.md prints it. */
const transcript = (page, url, protocols, answers) => page.evaluate(([url, protocols, answers]) => new Promise((resolve) => {
  const lines = [];
  const socket = new WebSocket(url, protocols);
  const say = (text) => {
    lines.push(`> ${text}`);
    socket.send(text);
  };
  Object.assign(globalThis, { heard: [], say });
  socket.onopen = () => answers.open && say(answers.open);
  socket.onmessage = ({ data }) => {
    lines.push(`< ${data}`);
    globalThis.heard.push(data);
    const type = data.startsWith('{') && JSON.parse(data).type;
    if (answers[type]) say(answers[type]);
  };
  socket.onclose = ({ code }) => resolve([...lines, `close ${code}`]);
}), [url, protocols, answers]);

/** The same lines: who speaks, and of messages the type and the fields. */
function sameTranscript(block, lines) {
  const printed = block.text.trim().split('\n');
  assert.deepEqual(lines.map((line) => line[0]), printed.map((line) => line[0]));
  lines.forEach((line, index) => {
    if (!/^[<>] \{/.test(line)) return line.startsWith('close') && assert.equal(line, printed[index]);
    const [real, shown] = [line, printed[index]].map((text) => JSON.parse(text.slice(2)));
    assert.deepEqual([real.type, Object.keys(real)], [shown.type, Object.keys(shown)], `line ${block.line + index + 1}`);
  });
}
const firstHeard = async (page) => (await page.waitForFunction(() => globalThis.heard?.[0])).jsonValue();

story('the transcript of the plain protocol', { env: ANY_ORIGIN, embed: () => '<!doctype html>' }, async ({ open, host, origin, service }) => {
  const page = await open(host.origin);
  const lines = transcript(page, `${origin.replace('http', 'ws')}/ws`, [], {});
  await scanWithoutPage(service, await firstHeard(page), 'alice');
  sameTranscript(plain, await lines);
});

story('the transcripts of scanlogin.v1', { env: { ...ANY_ORIGIN, ...CONFIRM }, embed: () => '<!doctype html>' }, async ({ open, host, origin, service }) => {
  const page = await open(host.origin);
  const socket = `${origin.replace('http', 'ws')}/ws`;
  const lines = transcript(page, socket, ['scanlogin.v1'], { token: '{"type":"received"}' });
  const { url } = JSON.parse(await firstHeard(page));
  await scanWithoutPage(service, url, 'alice', { confirm: true });
  sameTranscript(whole, await lines);

  const left = await open(host.origin);
  const first = transcript(left, socket, ['scanlogin.v1'], {});
  const { resume } = JSON.parse(await firstHeard(left));
  const second = await open(host.origin);
  const again = transcript(second, `${socket}?resume=1`, ['scanlogin.v1'], { open: JSON.stringify({ type: 'resume', resume }) });
  assert.equal((await first).at(-1), 'close 4002');
  await second.waitForFunction(() => globalThis.heard?.[0]);
  await second.evaluate(() => globalThis.say('{"type":"cancel"}'));
  sameTranscript(resumed, await again);
});

story('streams and polls, as printed', { env: ANY_ORIGIN }, async ({ service }) => {
  const here = [[SERVICE, service.origin]];
  const [answer] = await runAndCompare(poll, {}, here);
  const [frame] = answer.frames;
  const { expected } = await runPrinted({ ...poll, text: poll.text.replace(/^curl/, ': curl') }, {}, here);
  sameShape(frame, expected[0].frames[0], `line ${poll.line}`);
  await runAndCompare(message, { RESUME: frame.resume }, here);

  const line = spawn('bash', ['-c', `exec ${stream.text.replace(SERVICE, service.origin)}`], { stdio: ['ignore', 'pipe', 'ignore'] });
  const [event] = await once(line.stdout, 'data');
  line.kill('SIGKILL');
  assert.equal(JSON.parse(String(event).match(/^data: (.*)$/m)[1]).type, 'key');
});

story('the colours of the page, as printed', { env: ANY_ORIGIN, embed: pageWith({ head: `<style>${css.text}</style>` }) }, async ({ open, host, service }) => {
  const page = await open(host.origin);
  const url = await keyUrl(page);
  assert.ok(await part(page, 'hint').isHidden());
  assert.equal(await part(page, 'bar').locator('div').evaluate((bar) => getComputedStyle(bar).backgroundColor), 'rgb(98, 0, 238)');
  await scanWithoutPage(service, url, 'alice');
  await page.locator('scan-login[state="logged-in"]').waitFor({ state: 'hidden' });
});

const mapped = (origin) => `<!doctype html><script type="importmap">{"imports":{"scanlogin-element":"${origin}/v1/scanlogin.js"}}</script>
  ${bundled.text.replace(SERVICE, origin)}`;
story('the page of the package, as printed', { env: ANY_ORIGIN, embed: mapped }, async ({ open, host, service }) => {
  const page = await open(host.origin);
  await scanWithoutPage(service, await keyUrl(page), 'alice');
  assert.match(await (await page.waitForFunction(() => sessionStorage.getItem('token'))).jsonValue(), /^eyJ/);
});

test('the hash of a copy, as printed', () => {
  const said = execFileSync('bash', ['-c', hash.text], { cwd: join(ROOT, 'src/web/scan-login/dist'), encoding: 'utf8' });
  const script = readFileSync(join(ROOT, 'src/web/scan-login/dist/scanlogin.js'));
  assert.equal(said, `sha384-${createHash('sha384').update(script).digest('base64')}\n`);
});

test('the check of a webhook’s signature, as printed', () => {
  const body = '{"event":"login"}';
  const signed = (time, secret) => `t=${time},v1=${createHmac('sha256', secret).update(`${time}.${body}`).digest('hex')}`;
  const now = Math.floor(Date.now() / 1000);
  const cases = [[signed(now, 'secret'), true], [signed(now, 'other'), false], [signed(now - 900, 'secret'), false], [`${signed(now, 'secret')},v2=more`, true]];
  const calls = cases.map(([header]) => `print(is_scanlogin(${JSON.stringify(header)}, b${JSON.stringify(body)}, b"secret"))`);
  const said = execFileSync('python3', ['-c', `${check.text}\n${calls.join('\n')}`], { encoding: 'utf8' }).trim().split('\n');
  assert.deepEqual(said, cases.map(([, good]) => (good ? 'True' : 'False')));
});

/** Types what starts the service, with what the ports and folders are here, until it says where it listens. */
async function started(text, port) {
  const inherited = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('SCANLOGIN_')));
  const child = spawn('bash', ['-c', text], { stdio: 'ignore', detached: true, env: inherited });
  const exited = once(child, 'exit');
  await listening(port, exited, text);
  return async () => {
    process.kill(-child.pid, 'SIGKILL');
    await exited;
  };
}

test('the service for a phone in the same network, as printed', async () => {
  const [port, admin] = [await freePort(), await freePort()];
  const stop = await started(`SCANLOGIN_ADMIN_LISTEN=127.0.0.1:${admin} ${onTheNetwork.text.replace('cargo run --', BINARY).replace('0.0.0.0:8080', `0.0.0.0:${port}`)}`, port);
  try {
    assert.match(await (await fetch(`http://127.0.0.1:${port}/phone`)).text(), /Phone simulator/i);
  } finally {
    await stop();
  }
});

test('the page that is given a cookie, as printed', async () => {
  const [port, admin] = [await freePort(), await freePort()];
  const text = deliver.text.replace('cargo run', `SCANLOGIN_ADMIN_LISTEN=127.0.0.1:${admin} SCANLOGIN_LISTEN=127.0.0.1:${port} ${BINARY}`).replaceAll(':8080', `:${port}`);
  const stop = await started(text, port);
  const origin = `http://localhost:${port}`;
  const { open, close } = people([origin]);
  try {
    const page = await open(`${origin}/phone`);
    const ticket = await page.evaluate(async () => {
      const post = async (path, body, headers) => (await fetch(path, { method: 'POST', body: new URLSearchParams(body), headers })).json();
      const { token } = await post('/demo/app-token', { user: 'alice' });
      return new Promise((resolve) => {
        new WebSocket('/ws', 'scanlogin.v1').onmessage = ({ data }) => {
          const message = JSON.parse(data);
          if (message.type === 'key') post('/scan', { key: message.key }, { Authorization: `Bearer ${token}` });
          if (message.type === 'ticket') resolve(message.ticket);
        };
      });
    });
    const answer = await page.evaluate(`(async (ticket) => {
      const answer = ${redeem.text.replace(SERVICE, origin)};
      return answer.json();
    })(${JSON.stringify(ticket)})`);
    sameShape(answer, JSON.parse(redeem.text.match(/\/\/ (\{.*?\})/)[1]), `line ${redeem.line}`);
    const cookies = (await page.context().cookies()).map(({ name, httpOnly }) => [name, httpOnly]);
    assert.deepEqual(cookies.sort(), [['__Host-scanlogin', true], ['__Host-scanlogin-browser', true]]);
  } finally {
    await close();
    await stop();
  }
});

test('two lines and a command for production, as printed', async () => {
  const [port, admin, redis] = [await freePort(), await freePort(), await freePort()];
  for (const name of ['app', 'token']) writeFileSync(join(folder, name), `a secret for ${name}, of thirty-two bytes or more\n`);
  const server = spawn('redis-server', ['--port', String(redis), '--save', '', '--dir', folder], { stdio: 'ignore' });
  const ended = once(server, 'exit');
  let stop;
  try {
    await listening(redis, ended, 'redis-server');
    stop = await started(run.text
      .replace('redis://127.0.0.1:6379', `redis://127.0.0.1:${redis}`)
      .replaceAll('/run/secrets', folder)
      .replace('scanlogin --listen 0.0.0.0:8080 --admin-listen 0.0.0.0:8081', `exec ${BINARY} --listen 0.0.0.0:${port} --admin-listen 0.0.0.0:${admin}`), port);
    for (let ready = 0; ready !== 200; ready = (await fetch(`http://127.0.0.1:${admin}/readyz`)).status) await new Promise((resolve) => setTimeout(resolve, 50));
  } finally {
    await stop?.();
    server.kill('SIGKILL');
    await ended;
  }
});
