// Where WebSockets are blocked, the answer to `received` is what confirms: an end of the line, or a refusal, is none.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KEY, TOKEN, begin } from '../support/paper.js';

const settled = async () => {
  for (let turn = 0; turn < 8; turn += 1) await new Promise((resolve) => setImmediate(resolve));
};

/** A service that answers on these paths. `messages`: what the page's messages are answered with; `null`: nothing comes. */
function serve(t, messages) {
  const calls = [];
  const lines = [];
  const polls = [];
  t.mock.method(globalThis, 'fetch', async (url, { body, signal }) => {
    const { pathname } = new URL(url);
    calls.push([pathname, JSON.parse(body)]);
    if (pathname === '/stream/message') {
      const status = await messages.shift();
      if (status === null) throw new TypeError('no network');
      return Response.json({}, { status });
    }
    if (pathname === '/stream/poll') {
      return new Promise((resolve, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason));
        polls.push((answer) => resolve(Response.json({ code: 100, frames: [], ...answer })));
      });
    }
    let control;
    const stream = new ReadableStream({ start: (controller) => (control = controller) });
    signal.addEventListener('abort', () => control.error(signal.reason));
    lines.push((text) => control.enqueue(new TextEncoder().encode(text)));
    return new Response(stream);
  });
  return { calls, lines, polls, said: () => calls.filter(([path]) => path === '/stream/message').map(([, body]) => body) };
}

const TRANSPORTS = {
  stream: {
    says: async ({ lines }, frame) => lines.at(-1)(`data: ${JSON.stringify(frame)}\n\n`),
    closes: async ({ lines }, code) => lines.at(-1)(`event: close\ndata: {"code":${code},"reason":""}\n\n`),
  },
  poll: {
    says: async ({ polls }, frame) => polls.at(-1)({ frames: [frame] }),
    closes: async ({ polls }, code) => polls.at(-1)({ close: code }),
  },
};

for (const [name, { says, closes }] of Object.entries(TRANSPORTS)) {
  /** A client on such a line, to which the token has come, and where `received` is answered so. */
  async function beginOn(t, messages) {
    const service = serve(t, messages);
    const begun = begin(t, { transports: [name] });
    const told = async (step) => {
      await step;
      await settled();
    };
    await settled();
    await told(says(service, KEY));
    await told(says(service, TOKEN));
    return { ...begun, ...service, says: (frame) => told(says(service, frame)), closes: (code) => told(closes(service, code)) };
  }

  test(`${name}: received is said with the secret, and its answer confirms`, async (t) => {
    const { client, saved, memory, said } = await beginOn(t, [200]);
    assert.deepEqual([saved, said()], [['t'], [{ resume: 'secret', type: 'received' }]]);
    assert.deepEqual([client.state, client.unacknowledged, memory.size], ['logged-in', false, 0]);
  });

  test(`${name}: where the service knows of nothing to acknowledge, the token is taken back`, async (t) => {
    const { client, told, memory } = await beginOn(t, [404]);
    assert.deepEqual([told.at(-2), client.state, memory.size], ['undelivered', 'failed', 0]);
  });

  for (const status of [400, 403, 413]) {
    test(`${name}: a refusal by ${status} confirms nothing, and the login is resumed`, async (t) => {
      const { client, calls, clock, says, said, memory } = await beginOn(t, [status, 200]);
      assert.deepEqual([client.state, client.unacknowledged, client.connected], ['logged-in', true, false]);
      clock.tick(1_000);
      await settled();
      assert.equal(calls.at(-1)[1].resume, 'secret');
      await says(TOKEN);
      assert.deepEqual([said().length, client.state, memory.size], [2, 'logged-in', 0]);
    });
  }

  test(`${name}: a busy service, or none, is told again`, async (t) => {
    const { client, clock, said } = await beginOn(t, [503, 429, null, 200]);
    for (const pause of [1_000, 2_000, 4_000]) {
      assert.equal(client.unacknowledged, true);
      clock.tick(pause);
      await settled();
    }
    assert.deepEqual([said().length, client.unacknowledged], [4, false]);
  });

  test(`${name}: a resume that is answered by 1000 alone confirms`, async (t) => {
    const { client, clock, closes, memory, told } = await beginOn(t, [403]);
    clock.tick(1_000);
    await settled();
    await closes(1000);
    assert.deepEqual([client.state, client.unacknowledged, memory.size, told.includes('undelivered')], ['logged-in', false, 0, false]);
  });

  test(`${name}: a resume that is answered by 4000 takes the token back`, async (t) => {
    const { client, clock, closes, told } = await beginOn(t, [403]);
    clock.tick(1_000);
    await settled();
    await closes(4000);
    assert.deepEqual([told.at(-2), client.state], ['undelivered', 'failed']);
  });
}

test('stream: an end before the answer to received says nothing, unless it is 1000', async (t) => {
  for (const [code, confirmed] of [[1012, false], [4000, false], [1000, true]]) {
    const { lines, ...service } = serve(t, [new Promise(() => {})]);
    const { client } = begin(t, { transports: ['stream'], memory: new Map() });
    await settled();
    for (const frame of [KEY, TOKEN]) lines.at(-1)(`data: ${JSON.stringify(frame)}\n\n`);
    await settled();
    lines.at(-1)(`event: close\ndata: {"code":${code}}\n\n`);
    await settled();
    assert.deepEqual([client.state, client.unacknowledged, service.said().length], ['logged-in', !confirmed, 1], String(code));
    client.cancel();
    t.mock.reset();
    t.mock.timers.reset();
  }
});
