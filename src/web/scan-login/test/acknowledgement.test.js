// A login is done at Close 1000 and at nothing else: until then the token may be one that the service will forget.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KEY, TOKEN, begin, beginWithToken, sockets } from '../support/paper.js';

const RECEIVED = { type: 'received' };
const RESUME = { type: 'resume', resume: 'secret' };

/** Lets the client come back, and the service take the resume. */
function comeBack({ clock, last }) {
  clock.tick(1_000);
  last().open();
  assert.deepEqual(last().sent, [RESUME]);
}

for (const code of [1001, 1005, 1006, 1008, 1009, 1011, 1012, 4001, 4002, 4003]) {
  test(`a token whose line ends with ${code} is asked for again, until 1000`, (t) => {
    const begun = beginWithToken(t);
    const { client, saved, told, memory, last } = begun;
    last().ends(code);
    assert.deepEqual([client.state, client.unacknowledged, memory.size], ['logged-in', true, 1]);
    comeBack(begun);
    last().hears(TOKEN);
    assert.deepEqual([saved, last().sent.at(-1)], [['t'], RECEIVED]);
    last().ends(1000);
    assert.deepEqual([client.state, client.unacknowledged, memory.size, client.retryAt], ['logged-in', false, 0, null]);
    assert.ok(!told.includes('undelivered'));
  });
}

test('a resume that is answered by 1000 alone has learned that the acknowledgement had arrived', (t) => {
  const begun = beginWithToken(t);
  begun.last().ends(1006);
  comeBack(begun);
  begun.last().ends(1000);
  begun.clock.tick(600_000);
  assert.deepEqual([begun.client.state, begun.memory.size, sockets.length, begun.saved], ['logged-in', 0, 2, ['t']]);
});

for (const [how, end] of [['the frame expired', (line) => line.hears({ type: 'expired' })], ['Close 4000', (line) => line.ends(4000)]]) {
  test(`${how} takes back a token that was never acknowledged`, (t) => {
    const begun = beginWithToken(t);
    const { client, told, memory, clock, last } = begun;
    last().ends(1012);
    comeBack(begun);
    told.length = 0;
    end(last());
    clock.tick(600_000);
    assert.deepEqual([told, client.state, client.unacknowledged], [['undelivered', 'failed'], 'failed', false]);
    assert.deepEqual([memory.size, sockets.length], [0, 2]);
    client.restart();
    assert.equal(last().url, 'ws://host/ws?qr=svg');
  });
}

for (const [name, frame, state] of [['key', KEY, 'waiting'], ['scanned', { type: 'scanned', name: 'Alice', lifetime_ms: 90_000 }, 'scanned']]) {
  test(`a token is taken back where the store forgot that it was approved: ${name}`, (t) => {
    const begun = beginWithToken(t);
    begun.last().ends(1006);
    comeBack(begun);
    begun.told.length = 0;
    begun.last().hears(frame);
    assert.deepEqual([begun.told, begun.client.state], [['undelivered', state], state]);
    // Approved once more, it is a login once more.
    begun.last().hears({ ...TOKEN, token: 't2' });
    assert.deepEqual([begun.saved, begun.client.state], [['t', 't2'], 'logged-in']);
  });
}

test('after five resumes of a token it is asked for every ten seconds', (t) => {
  const begun = beginWithToken(t);
  const { client, clock, last } = begun;
  const waits = [];
  for (let resumes = 0; resumes < 8; resumes += 1) {
    last().ends(1012);
    waits.push(Math.round((client.retryAt - Date.now()) / 1_000));
    clock.tick(10_000);
    last().open();
    last().hears(TOKEN);
  }
  assert.deepEqual(waits, [1, 1, 1, 1, 1, 10, 10, 10]);
});

test('a service that does not answer is asked for the token in the same rhythm', (t) => {
  const { client, clock, last } = beginWithToken(t);
  const waits = [];
  for (let resumes = 0; resumes < 7; resumes += 1) {
    last().ends(1006);
    waits.push(Math.round((client.retryAt - Date.now()) / 1_000));
    clock.tick(10_000);
  }
  assert.deepEqual(waits, [1, 1, 1, 1, 1, 10, 10]);
});

test('a pause that the service names goes before that rhythm', (t) => {
  const { client, clock, last } = beginWithToken(t);
  const waits = [];
  for (let resumes = 0; resumes < 6; resumes += 1) {
    last().hears({ type: 'drain', retry_in_ms: 12_000 });
    last().ends(1012);
    waits.push(Math.round((client.retryAt - Date.now()) / 1_000));
    clock.tick(13_000);
    last().open();
  }
  assert.deepEqual(waits, [13, 13, 13, 13, 13, 12]);
});

for (const [name, token, seconds] of [['collect_ms', { ...TOKEN, collect_ms: 20_000 }, 20], ['a minute, where it does not say', { ...TOKEN, collect_ms: undefined }, 60]]) {
  test(`the token is asked for until nobody can tell any more: ${name}, and a minute`, (t) => {
    const begun = beginWithToken(t, { token });
    const { client, told, clock, memory, last } = begun;
    told.length = 0;
    for (let passed = 0; passed < seconds + 50; passed += 10) {
      if (last().readyState !== 3) last().ends(1006);
      assert.deepEqual([client.unacknowledged, memory.size], [true, 1]);
      clock.tick(10_000);
    }
    for (let passed = 0; passed < 30; passed += 10) {
      if (last().readyState !== 3) last().ends(1006);
      clock.tick(10_000);
    }
    const asked = sockets.length;
    clock.tick(600_000);
    assert.deepEqual([client.state, client.unacknowledged, memory.size, sockets.length], ['logged-in', false, 0, asked]);
    assert.ok(!told.includes('undelivered'));
  });
}

test('what a service says of a login that it has long forgotten takes back nothing', (t) => {
  const { client, told, clock, memory, last } = beginWithToken(t);
  const thawed = Date.now() + 600_000;
  t.mock.method(Date, 'now', () => thawed);
  last().hears({ type: 'expired' });
  clock.tick(1_000);
  assert.deepEqual([client.state, memory.size, told.includes('undelivered'), sockets.length], ['logged-in', 0, false, 1]);
});

test('a reload before the 1000 says it again, and learns the truth', (t) => {
  const memory = new Map();
  beginWithToken(t, { memory }).client.retry();
  t.mock.reset();
  t.mock.timers.reset();
  const begun = begin(t, { memory });
  const { client, told, last } = begun;
  assert.deepEqual([client.state, last().url], ['logged-in', 'ws://host/ws?resume=1&qr=svg']);
  last().open();
  last().ends(4000);
  assert.deepEqual([told.at(-2), client.state, memory.size], ['undelivered', 'failed', 0]);
});

test('1000 with nothing before it says that another page has collected the token', (t) => {
  const { client, told, clock, memory, last } = begin(t);
  last().open();
  last().hears(KEY);
  last().ends(1006);
  comeBack({ clock, last });
  last().ends(1000);
  clock.tick(600_000);
  assert.deepEqual([client.state, memory.size, sockets.length], ['taken-over', 0, 2]);
  assert.ok(!told.includes('undelivered') && !told.includes('login'));
});

test('... and after a reload it gives way to a new login', (t) => {
  const memory = new Map();
  const before = begin(t, { memory });
  before.last().open();
  before.last().hears(KEY);
  t.mock.reset();
  t.mock.timers.reset();
  const { client, last } = begin(t, { memory });
  last().open();
  last().ends(1000);
  assert.deepEqual([client.state, last().url], ['connecting', 'ws://host/ws?qr=svg']);
});
