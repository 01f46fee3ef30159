// The page's protocol on its own, against a socket made of paper and a clock that is turned by hand: what no browser
// test could wait for.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KEY, TOKEN, begin, sockets } from '../support/paper.js';

test('a first login offers the sub-protocol, asks for the picture and sends nothing', (t) => {
  const { client, last } = begin(t);
  last().open();
  last().hears(KEY);
  assert.deepEqual([last().url, last().protocol, last().sent], ['ws://host/ws?qr=svg', 'scanlogin.v1', []]);
  assert.deepEqual([client.state, client.connected, client.login.key], ['waiting', true, 'k1']);
});

test('unknown types, unknown fields and what is no JSON change nothing', (t) => {
  const { client, last } = begin(t);
  last().open();
  last().hears({ ...KEY, colour: 'blue' });
  for (const frame of ['{', 'null', '7', '[]', { type: 'confetti' }, { type: 'toString' }, { type: '__proto__' }]) last().hears(frame);
  assert.equal(client.state, 'waiting');
});

test('a token is stored before it is acknowledged, and remembered until the server closes', (t) => {
  const { client, saved, memory, last } = begin(t);
  last().open();
  last().hears(KEY);
  last().send = (text) => assert.deepEqual([JSON.parse(text), saved], [{ type: 'received' }, ['t']]);
  last().hears(TOKEN);
  assert.deepEqual([client.state, memory.size], ['logged-in', 1]);
  last().ends(1000);
  assert.deepEqual([client.state, memory.size], ['logged-in', 0]);
});

for (const [code, state] of [[1000, 'cancelled'], [1008, 'failed'], [1009, 'failed'], [4000, 'expired'], [4001, 'denied'], [4002, 'taken-over'], [4003, 'failed']]) {
  test(`after ${code} the login is ${state}, and nothing is tried without a click`, (t) => {
    const { client, clock, memory, last } = begin(t);
    last().open();
    last().hears(KEY);
    last().ends(code);
    clock.tick(600_000);
    assert.deepEqual([client.state, sockets.length, memory.size], [state, 1, 0]);
    client.restart();
    assert.deepEqual([client.state, last().url], ['connecting', 'ws://host/ws?qr=svg']);
  });
}

for (const code of [1001, 1006, 1011, 1012]) {
  test(`after ${code} the page resumes, with the secret in the first frame and not in the address`, (t) => {
    const { client, clock, last } = begin(t);
    last().open();
    last().hears(KEY);
    last().ends(code);
    assert.deepEqual([client.state, client.connected], ['waiting', false]);
    clock.tick(1_000);
    assert.equal(last().url, 'ws://host/ws?resume=1&qr=svg');
    last().open();
    assert.deepEqual(last().sent, [{ type: 'resume', resume: 'secret' }]);
    last().hears({ ...KEY, lifetime_ms: 90_000 });
    assert.deepEqual([client.state, client.connected, client.login.span], ['waiting', true, 120_000]);
  });
}

test('the waits between attempts double up to half a minute', (t) => {
  const { client, clock, last } = begin(t);
  const waits = [];
  for (let attempt = 0; attempt < 8; attempt += 1) {
    last().ends(1006);
    waits.push(Math.round((client.retryAt - Date.now()) / 1000));
    clock.tick(30_000);
  }
  assert.deepEqual(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
});

test('the jitter is full: chance may also say at once', (t) => {
  const { client, clock, last } = begin(t, { chance: 0 });
  for (let attempt = 0; attempt < 5; attempt += 1) {
    last().ends(1006);
    assert.equal(client.retryAt, Date.now());
    clock.tick(1);
  }
  assert.equal(sockets.length, 6);
});

test('an instance that greets and falls over is not hammered', (t) => {
  const { client, clock, last } = begin(t);
  for (let attempt = 0; attempt < 3; attempt += 1) {
    last().open();
    last().hears(KEY);
    last().ends(1006);
    clock.tick(30_000);
  }
  assert.equal(client.attempt, 3);
  last().open();
  last().hears(KEY);
  clock.tick(6_000);
  last().ends(1006);
  assert.equal(client.attempt, 1);
});

test('a drained page comes back when it was asked to, plus jitter', (t) => {
  const { client, last } = begin(t);
  last().open();
  last().hears(KEY);
  last().hears({ type: 'drain', retry_in_ms: 3_000 });
  last().ends(1012);
  assert.equal(Math.round(client.retryAt - Date.now()), 4_000);
});

test('a connection on which promised frames stay away is given up without ending the login', (t) => {
  const { client, clock, last } = begin(t);
  last().open();
  last().hears(KEY);
  clock.tick(38_000);
  clock.tick(1_000);
  const [silent] = sockets;
  assert.ok(silent.closedWith >= 3000 && silent.closedWith !== 4000);
  assert.equal(last().url, 'ws://host/ws?resume=1&qr=svg');
  silent.hears({ type: 'expired' });
  assert.equal(client.state, 'waiting');
});

test('a lost login is asked for until its token can no longer be there', (t) => {
  const { client, clock, last } = begin(t, { chance: 0.9 });
  last().open();
  last().hears(KEY);
  for (let seconds = 0; seconds < 170; seconds += 10) {
    if (last().readyState !== 3) last().ends(1006);
    clock.tick(10_000);
  }
  assert.equal(client.state, 'waiting');
  for (let seconds = 0; seconds < 60; seconds += 10) {
    if (last().readyState !== 3) last().ends(1006);
    clock.tick(10_000);
  }
  assert.equal(client.state, 'expired');
});

test('leaving on purpose ends the login and forgets it', (t) => {
  const { client, memory, last } = begin(t);
  last().open();
  last().hears(KEY);
  client.cancel();
  assert.deepEqual([last().sent, last().closedWith, client.state, memory.size], [[{ type: 'cancel' }], 1000, 'cancelled', 0]);
});

test('a key after scanned shows the code again', (t) => {
  const { client, last } = begin(t);
  last().open();
  last().hears(KEY);
  last().hears({ type: 'scanned', name: 'Alice', match: '07', lifetime_ms: 90_000 });
  assert.deepEqual([client.state, client.login.name, client.login.match], ['scanned', 'Alice', '07']);
  last().hears({ ...KEY, key: 'k2' });
  assert.deepEqual([client.state, client.login.key, client.login.name], ['waiting', 'k2', undefined]);
});

test('without storage a login still works', (t) => {
  const forbidden = { get: () => { throw new Error('forbidden'); }, set: () => { throw new Error('forbidden'); }, delete: () => { throw new Error('forbidden'); } };
  const { client, last } = begin(t, { memory: forbidden });
  last().open();
  last().hears(KEY);
  last().hears(TOKEN);
  assert.equal(client.state, 'logged-in');
});

test('a laptop that slept through a pause goes on when it wakes', (t) => {
  const { clock, last } = begin(t);
  last().open();
  last().hears(KEY);
  for (let attempt = 0; attempt < 5; attempt += 1) {
    last().ends(1006);
    if (attempt < 4) clock.tick(30_000);
  }
  const before = sockets.length;
  const woken = Date.now() + 3_600_000;
  t.mock.method(Date, 'now', () => woken);
  // Its timers have counted one second of that hour.
  clock.tick(1_000);
  assert.equal(sockets.length, before + 1);
});

test('a clock that is put back makes nobody wait for it', (t) => {
  let steady = 0;
  t.mock.method(performance, 'now', () => steady);
  const { clock, last } = begin(t);
  last().ends(1006);
  const earlier = Date.now() - 3_600_000;
  t.mock.method(Date, 'now', () => earlier);
  steady += 1_000;
  clock.tick(1_000);
  assert.equal(sockets.length, 2);
});

test('a token that comes again because its acknowledgement was lost is acknowledged, and not announced again', (t) => {
  const { client, saved, clock, last } = begin(t);
  last().open();
  last().hears(KEY);
  last().hears(TOKEN);
  last().ends(1006);
  clock.tick(1_000);
  last().open();
  last().hears(TOKEN);
  assert.deepEqual([saved, last().sent.at(-1), client.state], [['t'], { type: 'received' }, 'logged-in']);
});

test('a login of another service is not shown to this one', (t) => {
  const memory = new Map([['scanlogin.login', JSON.stringify({ resume: 'theirs', deadline: 1e15, endpoint: 'http://other/' })]]);
  const { last } = begin(t, { memory });
  assert.equal(last().url, 'ws://host/ws?qr=svg');
});

test('a line that cannot even be begun is tried again', (t) => {
  globalThis.WebSocket = class {
    constructor() {
      throw new Error('not from a page on https');
    }
  };
  const warned = t.mock.method(console, 'warn', () => {});
  const { client } = begin(t);
  assert.deepEqual([client.state, client.attempt], ['connecting', 1]);
  assert.match(warned.mock.calls[0].arguments[0], /not from a page on https/);
});
