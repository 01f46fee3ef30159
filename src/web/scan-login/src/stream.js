// The line to the service where WebSockets are blocked: an event stream, or polls. Both are POSTs, because an address,
// which is all that `EventSource` could say something in, is logged by whatever it passes.

// A proxy that collects an answer before it hands it on shows nothing of a stream: then it is no line.
const FIRST_EVENT_MS = 5_000;
const AGAIN_MS = 1_000;
const AGAIN_CAP_MS = 8_000;

const post = (url, body, options) => fetch(url, {
  method: 'POST',
  headers: { 'Content-Type': 'application/json' },
  body: JSON.stringify(body),
  ...options,
});

// The browser's own cookie goes along, also to another host of the same site, and comes back with the answer: where the
// service delivers tickets, a login belongs to the browser that has it.
const open = (url, body, signal) => post(url, body, { signal, credentials: 'include' });

/** A refusal says how long to stay away; in ms. */
const pauseOf = (response) => (Number(response.headers.get('Retry-After')) || 0) * 1_000;

// Kept alive, because a page that is logged in may leave at once.
const message = (base, resume, type) => post(new URL('stream/message', base), { resume, type }, { keepalive: true }).catch(() => null);

/** Says `received` once, on no line: whatever becomes of it, nobody waits for the answer. */
export const acknowledge = (base, resume) => message(base, resume, 'received');

// What the answer to `received` says of the login, as a close code: it has arrived, or is too late. Any other says neither.
const CODES = { 200: 1000, 404: 4000 };

/** What both have in common: what the page says goes out in requests of their own, and is repeated until it is answered. */
function line(base, resume, { heard, ended }, run) {
  const aborter = new AbortController();
  let secret = resume;
  let over = false;
  let received = null;

  const end = (code, pause) => {
    if (over) return;
    over = true;
    aborter.abort();
    ended(code, pause);
  };
  const hear = (text) => {
    secret = JSON.parse(text).resume ?? secret;
    heard(text);
  };
  // Once `received` is said, its answer tells how this ends, and nothing but 1000 tells it sooner.
  const closed = (code, pause) => {
    if (!received || code === 1000) end(code, pause);
  };

  async function say(type) {
    for (let tries = 0; ; tries += 1) {
      const response = await message(base, secret, type);
      if (response && response.status < 500 && response.status !== 429) return CODES[response.status];
      if (over || type === 'cancel') return;
      await new Promise((resolve) => setTimeout(resolve, Math.random() * Math.min(AGAIN_CAP_MS, AGAIN_MS * 2 ** tries)));
    }
  }

  run({ signal: aborter.signal, hear, closed, secret: () => secret }).then((pause) => closed(1006, pause), () => closed(1006));
  return {
    send({ type }) {
      if (over || !secret) return;
      if (type === 'cancel') return void say(type);
      received ??= say(type).then((code) => end(code ?? 1006));
    },
    close() {
      over = true;
      aborter.abort();
    },
  };
}

export const stream = (base, resume, handlers) => line(base, resume, handlers, async ({ signal, hear, closed }) => {
  const url = new URL('stream?qr=svg', base);
  const slow = new AbortController();
  const timer = setTimeout(() => slow.abort(), FIRST_EVENT_MS);
  signal.addEventListener('abort', () => slow.abort());
  try {
    const response = await open(url, resume ? { resume } : {}, slow.signal);
    if (!response.ok) return pauseOf(response);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = '';
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const events = (rest + value).split('\n\n');
      rest = events.pop();
      for (const event of events) {
        const data = event.match(/^data: (.*)$/m)?.[1];
        if (!data) continue;
        clearTimeout(timer);
        if (event.startsWith('event: close')) return closed(JSON.parse(data).code);
        hear(data);
      }
    }
  } finally {
    clearTimeout(timer);
  }
});

export const poll = (base, resume, handlers) => line(base, resume, handlers, async ({ signal, hear, closed, secret }) => {
  const url = new URL('stream/poll?qr=svg', base);
  let seen;
  for (;;) {
    const response = await open(url, { resume: secret(), seen }, signal);
    if (!response.ok) return pauseOf(response);
    const { frames, close } = await response.json();
    for (const frame of frames) {
      if (['key', 'scanned'].includes(frame.type)) seen = { type: frame.type, seq: frame.seq };
      hear(JSON.stringify(frame));
    }
    if (close) return closed(close);
    // What is over brings no more news, and is not to be asked for.
    if (frames.some(({ type }) => ['token', 'ticket'].includes(type))) return new Promise(() => {});
  }
});
