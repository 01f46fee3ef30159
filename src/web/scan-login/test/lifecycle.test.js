// A page that comes back (from the back-forward cache, a freeze, another tab, an outage) asks at once: its timers stood
// still, and the end of its line may never have been told.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KEY, TOKEN, begin, beginWithToken, paperPage, sockets } from '../support/paper.js';

const RESUMED = 'ws://host/ws?resume=1&qr=svg';
const AGES = 60_000;

const RETURNS = {
  'the back-forward cache': (page) => page.hears('pageshow', { persisted: true }),
  'a freeze': (page) => page.documentHears('resume'),
  'another tab': (page) => page.turns('visible'),
  'an outage of the network': (page) => page.hears('online'),
};

/** A client whose code is shown, on a page, some seconds ago. */
function beginWaiting(t, options) {
  const page = paperPage();
  const begun = begin(t, options);
  begun.last().open();
  begun.last().hears(KEY);
  begun.clock.tick(5_000);
  return { ...begun, page };
}

for (const [from, back] of Object.entries(RETURNS)) {
  test(`back from ${from}, a page does not believe its line`, (t) => {
    const { client, told, clock, last, page } = beginWaiting(t);
    const [dead] = sockets;
    told.length = 0;
    back(page);
    clock.tick(1_000);
    assert.deepEqual([sockets.length, last().url], [2, RESUMED]);
    assert.ok(dead.closedWith >= 4000, 'not 1000: that would end the login');
    // Nobody is told of an outage that may be none.
    assert.deepEqual([client.state, client.connected, told], ['waiting', true, []]);
    last().open();
    assert.deepEqual(last().sent, [{ type: 'resume', resume: 'secret' }]);
    // What the dead line had kept says nothing any more.
    dead.hears({ type: 'expired' });
    dead.ends(1006);
    last().hears({ type: 'scanned', name: 'Alice', lifetime_ms: 90_000 });
    assert.deepEqual([client.state, sockets.length], ['scanned', 2]);
  });

  test(`back from ${from}, a page does not wait for its next attempt`, (t) => {
    const { clock, last, page } = beginWaiting(t);
    for (let attempt = 0; attempt < 6; attempt += 1) {
      last().ends(1006);
      if (attempt < 5) clock.tick(30_000);
    }
    const before = sockets.length;
    back(page);
    clock.tick(1_000);
    assert.deepEqual([sockets.length, last().url], [before + 1, RESUMED]);
  });

  test(`back from ${from}, a token that is not confirmed is said again at once`, (t) => {
    const page = paperPage();
    const { saved, memory, clock, last } = beginWithToken(t);
    for (let resumes = 0; resumes < 6; resumes += 1) {
      last().ends(1012);
      if (resumes < 5) clock.tick(10_000);
    }
    const before = sockets.length;
    back(page);
    clock.tick(1_000);
    assert.equal(sockets.length, before + 1);
    last().open();
    last().hears(TOKEN);
    assert.deepEqual([last().sent.at(-1), saved], [{ type: 'received' }, ['t']]);
    last().ends(1000);
    assert.deepEqual([memory.size, page.listeners], [0, 0]);
  });

  test(`back from ${from}, a page whose new line fails says so and goes on`, (t) => {
    const { client, clock, last, page } = beginWaiting(t);
    back(page);
    clock.tick(1_000);
    last().ends(1006);
    assert.deepEqual([client.state, client.connected, client.attempt], ['waiting', false, 1]);
    clock.tick(1_000);
    assert.equal(sockets.length, 3);
  });

  test(`back from ${from}, what is over stays over`, (t) => {
    const { client, clock, last, page } = beginWaiting(t);
    last().ends(4000);
    back(page);
    clock.tick(AGES);
    assert.deepEqual([client.state, sockets.length, page.listeners], ['expired', 1, 0]);
  });

  test(`back from ${from} just before the end, what ended is not begun anew`, (t) => {
    const { client, clock, last, page } = beginWaiting(t);
    back(page);
    last().hears({ type: 'denied' });
    clock.tick(AGES);
    assert.deepEqual([client.state, sockets.length], ['denied', 1]);
  });
}

test('a page that comes back while somebody confirms shows the time that is left of the same time', (t) => {
  const { client, clock, last, page } = beginWaiting(t);
  last().hears({ type: 'scanned', name: 'Alice', lifetime_ms: 90_000 });
  clock.tick(30_000);
  page.turns('visible');
  clock.tick(0);
  last().open();
  last().hears({ type: 'scanned', name: 'Alice', lifetime_ms: 60_000 });
  assert.deepEqual([client.login.span, client.login.deadline - Date.now()], [90_000, 60_000]);
});

test('a page that has just been opened, turned from or shown for the first time keeps its line', (t) => {
  const { clock, page } = beginWaiting(t);
  page.hears('pageshow', { persisted: false });
  page.turns('hidden');
  clock.tick(5_000);
  assert.equal(sockets.length, 1);
});

test('of the events of one return only the first asks', (t) => {
  const { clock, page } = beginWaiting(t);
  for (const back of Object.values(RETURNS)) {
    back(page);
    clock.tick(0);
  }
  clock.tick(900);
  assert.equal(sockets.length, 2);
});

const GOING = {
  'was left': [(page) => page.hears('pagehide', { persisted: true }), RETURNS['the back-forward cache']],
  'was frozen': [(page) => page.documentHears('freeze'), RETURNS['a freeze']],
  'was out of sight': [(page) => page.turns('hidden'), RETURNS['another tab']],
  'had no network': [(page) => page.hears('offline'), RETURNS['an outage of the network']],
};

for (const [name, [go, back]] of Object.entries(GOING)) {
  test(`a page that ${name} right after it came back asks again`, (t) => {
    const { clock, page } = beginWaiting(t, { chance: 0 });
    for (let times = 0; times < 3; times += 1) {
      go(page);
      back(page);
      clock.tick(0);
    }
    assert.equal(sockets.length, 4);
  });
}

test('a network that comes back does not bring everybody at once', (t) => {
  const { clock, page } = beginWaiting(t, { chance: 0.5 });
  page.hears('online');
  clock.tick(499);
  assert.equal(sockets.length, 1);
  clock.tick(1);
  assert.equal(sockets.length, 2);
});

test('a page that had no code yet asks for one anew, and leaves none behind that nobody sees', (t) => {
  const page = paperPage();
  const { clock, last } = begin(t);
  clock.tick(2_000);
  page.turns('visible');
  clock.tick(0);
  assert.deepEqual([sockets[0].closedWith, last().url], [1000, 'ws://host/ws?qr=svg']);
});

test('a login that was cancelled is not asked for again, not even one whose token was not confirmed', (t) => {
  const page = paperPage();
  const { client, clock } = beginWithToken(t);
  client.cancel();
  page.turns('visible');
  clock.tick(AGES);
  assert.deepEqual([client.state, sockets.length, page.listeners], ['cancelled', 1, 0]);
});

/** What goes out when the page is about to stand still, or left. */
function messages(t) {
  const calls = [];
  t.mock.method(globalThis, 'fetch', async (url, { keepalive, body }) => calls.push([String(url), keepalive, body]));
  return calls;
}

for (const [name, [away]] of Object.entries(GOING)) {
  test(`a page that ${name} before the 1000 says by another way that it has the token`, (t) => {
    const calls = messages(t);
    const page = paperPage();
    const { last } = beginWithToken(t);
    away(page);
    const said = [['http://host/stream/message', true, '{"resume":"secret","type":"received"}']];
    assert.deepEqual(calls, said);
    // Once, whatever else tells the same.
    for (const [again] of Object.values(GOING)) again(page);
    last().ends(1000);
    away(page);
    assert.deepEqual(calls, said);
  });

  test(`a page that is logged in out of sight, and then ${name}, says so too`, (t) => {
    const calls = messages(t);
    const { page, last } = beginWaiting(t);
    page.turns('hidden');
    last().hears(TOKEN);
    assert.equal(calls.length, 0);
    away(page);
    assert.equal(calls.length, 1);
  });

  test(`a page that ${name} and has no token says nothing`, (t) => {
    const calls = messages(t);
    const { page, last } = beginWaiting(t);
    away(page);
    assert.deepEqual([calls, last().sent], [[], []]);
  });
}
