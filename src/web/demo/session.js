// What the demo does with its token: kept in this tab, asked about, and given back. Where the service delivers by
// ticket (SCANLOGIN_DELIVER=ticket) there is none to keep: the browser has a cookie that no script can read.

const TOKEN = 'scanlogin.token';
// What stands there instead of a token that is in the cookie.
const IN_COOKIE = 'cookie';

/** The web token of this tab, and what the service says about it. */
export class WebSession {
  #storage;
  #token;

  constructor(storage) {
    this.#storage = storage;
    this.#token = recall(storage, TOKEN);
  }

  /** Whether this tab has logged in; whether that is still good, `verify` says. */
  get exists() {
    return this.#token !== null;
  }

  /** `null` where there is none, or none that a script can read. */
  get token() {
    return this.#token === IN_COOKIE ? null : this.#token;
  }

  /** Without a token: it is in the cookie. */
  save(token = IN_COOKIE) {
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
    const headers = this.token ? { Authorization: `Bearer ${this.token}` } : {};
    return fetch(path, { method, headers, cache: 'no-store' });
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
