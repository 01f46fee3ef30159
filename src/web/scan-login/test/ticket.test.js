// Where the service delivers a ticket: exchanged for a cookie, which no script sees.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ScanLogin } from '../src/client.js';
import { paperPage } from '../support/paper.js';

const KEY = { type: 'key', seq: 1, key: 'k1', url: 'u', valid_ms: 30_000, lifetime_ms: 120_000, resume: 'secret' };
const TICKET = { type: 'ticket', ticket: 'T', expires_in: 60 };
const settled = () => new Promise((resolve) => setImmediate(resolve));

/** A client that was given a ticket, and a service that answers its exchange with these, one after the other. */
function begin(t, answers, { remembered, frames = [KEY, TICKET] } = {}) {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  t.mock.method(Math, 'random', () => 0.5);
  const calls = [];
  t.mock.method(globalThis, 'fetch', async (url, options) => {
    calls.push({ url: String(url), ...options });
    const status = answers.shift();
    if (status === undefined) throw new TypeError('no network');
    if (status instanceof Promise) return status;
    return Response.json({ code: 100, user: 'alice' }, { status });
  });
  let line;
  const lines = [];
  globalThis.WebSocket = class {
    constructor(url) {
      Object.assign(this, { url: String(url), readyState: 1, sent: [] });
      line = this;
      lines.push(this);
    }
    send(text) {
      this.sent.push(JSON.parse(text));
    }
    close(code) {
      this.closed = code;
    }
  };
  const memory = new Map(remembered);
  const client = new ScanLogin({
    endpoint: 'https://host/base',
    storage: { getItem: (name) => memory.get(name) ?? null, setItem: (name, value) => memory.set(name, value), removeItem: (name) => memory.delete(name) },
  });
  const logins = [];
  client.addEventListener('login', ({ detail }) => logins.push(detail));
  client.start();
  const hears = (frame) => line.onmessage({ data: JSON.stringify(frame) });
  frames.forEach(hears);
  return { client, logins, calls, memory, lines, hears, line: () => line, clock: t.mock.timers };
}

test('a ticket is exchanged with credentials, as JSON, and the page is told without a token', async (t) => {
  const { client, logins, calls, memory } = begin(t, [200]);
  await settled();
  const [{ url, method, credentials, headers, body }] = calls;
  assert.deepEqual([url, method, credentials, headers['Content-Type'], body], ['https://host/base/redeem', 'POST', 'include', 'application/json', '{"ticket":"T"}']);
  assert.deepEqual([client.state, logins, memory.size], ['logged-in', [{ user: 'alice' }], 0]);
});

test('the close that comes before the answer of the exchange ends nothing, and no line is opened for it', async (t) => {
  let answer;
  const { client, logins, line, clock } = begin(t, [new Promise((resolve) => (answer = resolve))]);
  const first = line();
  first.onclose({ code: 1000 });
  first.onclose({ code: 1006 });
  clock.tick(60_000);
  assert.deepEqual([client.state, line()], ['waiting', first]);
  answer(Response.json({ user: 'alice' }));
  await settled();
  assert.deepEqual([client.state, logins.length], ['logged-in', 1]);
});

test('the same ticket said twice is exchanged once', async (t) => {
  const { calls, hears } = begin(t, [200]);
  hears(TICKET);
  await settled();
  assert.equal(calls.length, 1);
});

test('an exchange that nobody answered, or a busy service, is tried again', async (t) => {
  const { client, calls, clock } = begin(t, [503, 429, 500, 200]);
  for (let tries = 0; tries < 4; tries += 1) {
    await settled();
    clock.tick(8_000);
  }
  await settled();
  assert.deepEqual([calls.length, client.state], [4, 'logged-in']);
});

test('a ticket that is no good is a login that failed, and a click begins anew', async (t) => {
  const { client, logins, line } = begin(t, [404]);
  await settled();
  assert.deepEqual([client.state, logins], ['failed', []]);
  client.restart();
  assert.equal(line().url, 'wss://host/base/ws?qr=svg');
});

test('an exchange that never succeeds ends with the ticket', async (t) => {
  const { client, clock } = begin(t, []);
  for (let seconds = 0; seconds <= 60; seconds += 5) {
    await settled();
    clock.tick(5_000);
  }
  await settled();
  assert.equal(client.state, 'failed');
});

test('who cancels meanwhile is not logged in by what comes after', async (t) => {
  let answer;
  const { client, logins } = begin(t, [new Promise((resolve) => (answer = resolve))]);
  client.cancel();
  answer(Response.json({ user: 'alice' }));
  await settled();
  assert.deepEqual([client.state, logins], ['cancelled', []]);
});

for (const [from, back] of [['a freeze', (page) => page.documentHears('resume')], ['the back-forward cache', (page) => page.hears('pageshow', { persisted: true })]]) {
  test(`back from ${from}, an exchange is tried again at once, and one that is under way is waited for`, async (t) => {
    const page = paperPage();
    let answer;
    const { client, calls, clock } = begin(t, [503, new Promise((resolve) => (answer = resolve))]);
    await settled();
    for (let times = 0; times < 2; times += 1) {
      back(page);
      clock.tick(0);
      await settled();
      assert.equal(calls.length, 2);
    }
    answer(Response.json({ user: 'alice' }));
    await settled();
    assert.deepEqual([client.state, page.listeners], ['logged-in', 0]);
  });
}

test('a ticket whose answer was lost is used up: the login has failed, and nothing claims otherwise', async (t) => {
  let lose;
  const { client, logins, clock } = begin(t, [new Promise((_, reject) => (lose = reject)), 404]);
  await settled();
  lose(new TypeError('the line was cut'));
  await settled();
  clock.tick(1_000);
  await settled();
  assert.deepEqual([client.state, logins], ['failed', []]);
});

const leftBefore = async (t, answer) => {
  const { memory } = begin(t, [new Promise(() => {})]);
  await settled();
  t.mock.timers.reset();
  t.mock.restoreAll();
  return begin(t, [answer], { remembered: memory, frames: [] });
};

test('a page that was reloaded before the answer exchanges its ticket again, and needs no line for it', async (t) => {
  const { client, logins, calls, memory, lines } = await leftBefore(t, 200);
  await settled();
  assert.deepEqual([client.state, logins, lines.length, memory.size], ['logged-in', [{ user: 'alice' }], 0, 0]);
  assert.equal(calls[0].body, '{"ticket":"T"}');
});

test('a ticket that is no good after a reload is followed by a new code without a click', async (t) => {
  const { client, logins, lines } = await leftBefore(t, 404);
  await settled();
  assert.deepEqual([client.state, logins, lines.map(({ url }) => url)], ['connecting', [], ['wss://host/base/ws?qr=svg']]);
});

test('a browser that was given its cookie just now comes back once, with the one that it kept', async (t) => {
  const { client, lines, hears, clock } = begin(t, [], { frames: [{ ...KEY, new_browser: true }] });
  clock.tick(1_499);
  assert.equal(lines.length, 1);
  clock.tick(1);
  assert.deepEqual([lines.length, lines[0].closed, lines[1].url], [2, 4900, 'wss://host/base/ws?resume=1&qr=svg']);
  hears(KEY);
  clock.tick(20_000);
  assert.deepEqual([lines.length, client.state], [2, 'waiting']);
});
