// What the client meets in its tests: a socket made of paper, a page of paper, and a clock that is turned by hand.
import { afterEach, beforeEach } from 'node:test';
import { ScanLogin } from '../src/client.js';

export let sockets;

class PaperSocket {
  static OPEN = 1;
  readyState = 0;
  sent = [];
  constructor(url, protocol) {
    Object.assign(this, { url: String(url), protocol });
    sockets.push(this);
  }
  send(text) {
    this.sent.push(JSON.parse(text));
  }
  close(code) {
    this.closedWith = code;
  }
  open() {
    this.readyState = 1;
    this.onopen();
  }
  hears(frame) {
    this.onmessage({ data: typeof frame === 'string' ? frame : JSON.stringify(frame) });
  }
  ends(code) {
    this.readyState = 3;
    this.onclose({ code });
  }
}

export const KEY = { type: 'key', seq: 1, key: 'k1', url: 'u', qr_svg: '<svg/>', valid_ms: 30_000, lifetime_ms: 120_000, resume: 'secret' };
export const TOKEN = { type: 'token', token: 't', token_type: 'Bearer', expires_in: 60, user: 'alice', collect_ms: 60_000 };

beforeEach(() => {
  globalThis.WebSocket = PaperSocket;
  sockets = [];
});

/** A client at its start, a clock, and chance that always says its largest. */
export function begin(t, { chance = 0.999_999, memory = new Map(), transports = ['socket'] } = {}) {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  t.mock.method(Math, 'random', () => chance);
  const saved = [];
  const told = [];
  const client = new ScanLogin({
    endpoint: 'http://host',
    transports,
    storage: { getItem: (name) => memory.get(name) ?? null, setItem: (name, value) => memory.set(name, value), removeItem: (name) => memory.delete(name) },
  });
  client.addEventListener('login', ({ detail }) => saved.push(detail.token));
  for (const name of ['login', 'undelivered', 'change']) client.addEventListener(name, () => told.push(name === 'change' ? client.state : name));
  client.start();
  return { client, saved, told, memory, clock: t.mock.timers, last: () => sockets.at(-1) };
}

/** As {@link begin}, and the token has come. */
export function beginWithToken(t, { token = TOKEN, ...options } = {}) {
  const begun = begin(t, options);
  begun.last().open();
  begun.last().hears(KEY);
  begun.last().hears(token);
  return begun;
}

/** The page's events, in a place of their own: `window` and `document`, counting who listens. */
export function paperPage() {
  const page = { hears: (type, more = {}) => page.window.dispatchEvent(Object.assign(new Event(type), more)), listeners: 0 };
  const place = () => {
    const target = new EventTarget();
    const counted = (method, step) => (...all) => {
      page.listeners += step;
      EventTarget.prototype[method].apply(target, all);
    };
    return Object.assign(target, { addEventListener: counted('addEventListener', 1), removeEventListener: counted('removeEventListener', -1) });
  };
  page.window = place();
  page.document = Object.assign(place(), { visibilityState: 'visible' });
  Object.assign(globalThis, { document: page.document, addEventListener: page.window.addEventListener, removeEventListener: page.window.removeEventListener });
  page.documentHears = (type) => page.document.dispatchEvent(new Event(type));
  page.turns = (visibilityState) => {
    page.document.visibilityState = visibilityState;
    page.documentHears('visibilitychange');
  };
  return page;
}

afterEach(() => {
  for (const name of ['document', 'addEventListener', 'removeEventListener']) delete globalThis[name];
});
