// The browser's half of `scanlogin.v1`, without any DOM: what a page needs to build its own view on.
// It tells its listener "change" whenever `state`, `connected` or `login` differ from before.

const PROTOCOL = 'scanlogin.v1';
const REMEMBERED = 'scanlogin.login';
const TOKEN = 'scanlogin.token';

const BACKOFF_BASE_MS = 1_000;
const BACKOFF_CAP_MS = 30_000;
// A socket that lived this long was no crash loop, so the next failure starts counting anew.
const STABLE_MS = 5_000;
const FIRST_FRAME_MS = 10_000;
// Past a promised frame (the next key, the end) by this much, the connection is taken for half-open:
// a page is never told about the server's pings, and TCP would need minutes to notice.
const OVERDUE_MS = 8_000;
// A login approved in its last second can still be collected for a minute: so long it is worth asking.
const COLLECT_MS = 60_000;
// Anything but 1000, which would end the login instead of leaving it to be resumed.
const CLOSE_TO_RESUME = 4900;

const FINAL_CLOSES = {
  1000: 'cancelled', 1008: 'failed', 1009: 'failed',
  4000: 'expired', 4001: 'denied', 4002: 'taken-over', 4003: 'failed',
};

/**
 * One login at a time. `state` is one of `connecting`, `waiting`, `scanned`, `logged-in`, `denied`, `expired`,
 * `cancelled`, `taken-over`, `failed`; `connected` says whether the socket stands meanwhile.
 */
export class ScanLogin extends EventTarget {
  state = 'connecting';
  connected = false;
  /** What the service told about the current login: key, url, qrSvg, validUntil, deadline, span, name, picture, match, user. */
  login = null;
  /** Failed attempts in a row, and when (ms since the epoch) the next one starts. */
  attempt = 0;
  retryAt = null;

  #endpoint;
  #storage;
  #saveToken;
  #socket = null;
  #heardAt = null;
  #retryTimer;
  #watchdog;
  #drainDelay = null;
  #recalled = false;

  /**
   * `saveToken(token, frame)` must have stored the token when it returns: only then is it acknowledged,
   * and only what is acknowledged stays valid.
   */
  constructor({ endpoint, storage, saveToken }) {
    super();
    this.#endpoint = endpoint;
    this.#storage = storage;
    this.#saveToken = saveToken;
  }

  /** Goes on with the login that this tab had before a reload, else begins one. */
  start() {
    this.login = this.#recall();
    this.#recalled = this.login !== null;
    if (this.login?.settling) this.state = 'logged-in';
    this.#connect();
  }

  /** Whether a token was stored before a reload whose acknowledgement may have been lost: `start()` then says it again. */
  get unacknowledged() {
    return this.#recall()?.settling === true;
  }

  /** A new login, whatever there was. */
  restart() {
    this.#drop();
    this.login = null;
    this.attempt = 0;
    this.#become('connecting');
    this.#connect();
  }

  /** The user leaves on purpose: nobody shall be able to use the code any more. */
  cancel() {
    this.#drop();
    this.#become('cancelled');
  }

  /** Does not wait for the back-off. `spreadMs` keeps an office whose line comes back from arriving as one. */
  retryNow(spreadMs = 0) {
    if (this.retryAt !== null) this.#scheduleConnect(Math.random() * spreadMs);
  }

  #connect() {
    this.retryAt = null;
    this.#heardAt = null;
    const url = new URL(this.#endpoint);
    url.protocol = url.protocol.replace('http', 'ws');
    const resume = this.login?.resume;
    if (resume) url.searchParams.set('resume', '1');
    url.searchParams.set('qr', 'svg');

    const socket = new WebSocket(url, PROTOCOL);
    this.#socket = socket;
    // Frames of a socket that was given up say nothing about the login that came after it.
    const current = (handler) => (event) => socket === this.#socket && handler(event);
    socket.onopen = current(() => resume && this.#send({ type: 'resume', resume }));
    socket.onmessage = current(({ data }) => this.#receive(data));
    socket.onclose = current(({ code }) => this.#closed(code));
    this.#expectFrameIn(FIRST_FRAME_MS);
  }

  #send(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  #receive(data) {
    let frame;
    try {
      frame = JSON.parse(data);
    } catch {
      return;
    }
    const handler = this.#handlers[frame?.type];
    if (!handler) return;
    this.#heardAt ??= Date.now();
    this.#recalled &&= frame.type === 'expired';
    handler(frame);
  }

  #handlers = Object.assign(Object.create(null), {
    key: (frame) => {
      const deadline = Date.now() + frame.lifetime_ms;
      const validUntil = Date.now() + Math.min(frame.valid_ms ?? Infinity, frame.lifetime_ms);
      this.login = {
        resume: frame.resume,
        seq: frame.seq,
        key: frame.key,
        url: frame.url,
        qrSvg: frame.qr_svg,
        validUntil,
        deadline,
        span: Math.max(this.login?.resume === frame.resume ? this.login.span : 0, frame.lifetime_ms),
      };
      this.#expectFrameIn(validUntil - Date.now() + OVERDUE_MS);
      this.#alive('waiting');
    },
    scanned: (frame) => {
      const { name, picture, match, lifetime_ms: span } = frame;
      this.login = { resume: this.login?.resume, name, picture, match, span, deadline: Date.now() + span };
      this.#expectFrameIn(span + OVERDUE_MS);
      this.#alive('scanned');
    },
    token: (frame) => {
      const { resume, name, picture } = this.login;
      this.#saveToken(frame.token, frame);
      // Remembered until the server's 1000: an acknowledgement that got lost with its socket would
      // silently undo this login a minute from now, so it is then said again.
      this.login = { resume, name, picture, user: frame.user, settling: true, deadline: Date.now() };
      this.#send({ type: 'received' });
      this.#expectFrameIn(OVERDUE_MS);
      this.#alive('logged-in');
    },
    denied: () => this.#closed(4001),
    expired: () => this.#closed(4000),
    drain: (frame) => {
      this.#drainDelay = frame.retry_in_ms ?? 0;
    },
  });

  #alive(state) {
    this.connected = true;
    this.#remember();
    this.#become(state);
  }

  #closed(code) {
    clearTimeout(this.#watchdog);
    this.connected = false;
    this.#socket = null;
    const outcome = FINAL_CLOSES[code];
    if (!outcome) return this.#retry(code);
    this.#forget();
    // What is gone after a reload needs no click of its own: the reload was one.
    if (code === 4000 && this.#recalled && !this.login?.settling) return this.restart();
    this.#become(this.login?.settling ? 'logged-in' : outcome);
  }

  #retry(code) {
    if (this.login && Date.now() > this.login.deadline + COLLECT_MS) {
      this.#forget();
      return this.#become(this.login.settling ? 'logged-in' : 'expired');
    }
    if (this.#heardAt !== null && Date.now() - this.#heardAt > STABLE_MS) this.attempt = 0;
    this.attempt += 1;
    const ceiling = Math.min(BACKOFF_CAP_MS, BACKOFF_BASE_MS * 2 ** (this.attempt - 1));
    // A restarting instance has named its time; the jitter still keeps its browsers from coming back as one.
    const named = code === 1012 ? (this.#drainDelay ?? 0) : 0;
    this.#drainDelay = null;
    this.#scheduleConnect(named + Math.random() * ceiling);
    this.#become(this.state);
  }

  #scheduleConnect(delay) {
    clearTimeout(this.#retryTimer);
    this.retryAt = Date.now() + delay;
    this.#retryTimer = setTimeout(() => this.#connect(), delay);
  }

  #expectFrameIn(ms) {
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => {
      this.#socket.close(CLOSE_TO_RESUME);
      this.#closed(1006);
    }, ms);
  }

  #drop() {
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#watchdog);
    this.#send({ type: 'cancel' });
    this.#socket?.close(1000);
    this.#socket = null;
    this.connected = false;
    this.retryAt = null;
    this.#recalled = false;
    this.#forget();
  }

  #become(state) {
    this.state = state;
    this.dispatchEvent(new Event('change'));
  }

  #remember() {
    const { resume, deadline, span, settling } = this.login;
    store(this.#storage, REMEMBERED, JSON.stringify({ resume, deadline, span, settling }));
  }

  #forget() {
    store(this.#storage, REMEMBERED, null);
  }

  #recall() {
    const login = JSON.parse(recall(this.#storage, REMEMBERED));
    return login && Date.now() < login.deadline + COLLECT_MS ? login : null;
  }
}

/** The web token of this tab, and what the service says about it. */
export class WebSession {
  #storage;
  #token;

  constructor(storage) {
    this.#storage = storage;
    this.#token = recall(storage, TOKEN);
  }

  get token() {
    return this.#token;
  }

  save(token) {
    this.#token = token;
    store(this.#storage, TOKEN, token);
  }

  clear() {
    this.save(null);
  }

  /** `{user, platform, expires_at}`; `null` where the token is no longer good. Throws where nobody could tell. */
  async verify() {
    const response = await this.#call('GET', '/verify');
    if (response.status === 401) return null;
    if (!response.ok) throw new Error(`/verify answered ${response.status}`);
    return response.json();
  }

  /** Throws where the token may still be good: a page must not claim otherwise. */
  async logOut() {
    const response = await this.#call('POST', '/logout');
    if (!response.ok && response.status !== 401) throw new Error(`/logout answered ${response.status}`);
    this.clear();
  }

  #call(method, path) {
    return fetch(path, { method, headers: { Authorization: `Bearer ${this.#token}` }, cache: 'no-store' });
  }
}

// Where storage is full or forbidden, a login holds for as long as the page is open: less, but no failure.
function store(storage, name, value) {
  try {
    if (value === null) storage.removeItem(name);
    else storage.setItem(name, value);
  } catch {}
}

function recall(storage, name) {
  try {
    return storage.getItem(name);
  } catch {
    return null;
  }
}
