// `<scan-login>`: only a view on ./client.js.
import { ScanLogin } from './client.js';
import { drawing, make } from './dom.js';
import style from './style.css';
import { TEXTS, languageOf } from './texts.js';

const TICK_MS = 250;
const SHORT_MS = 15_000;

// What each view shows besides its texts. `over` draws a symbol; the first button is the primary one.
const OVER = { denied: 'm17 17 14 14m0-14L17 31', expired: 'M24 13v12l7 5', cancelled: 'M24 13v12l7 5', 'logged-in': 'm15 25 6.5 6.5L33 18' };
const BANG = 'M24 13v14m0 7v.1';
const OVER_VIEWS = ['logged-in', 'denied', 'expired', 'cancelled', 'taken-over', 'failed', 'unavailable'];
const BUTTONS = {
  idle: ['start'], scanned: ['cancel'], denied: ['again'], expired: ['again'], cancelled: ['again'], reconnecting: ['again'],
  unavailable: ['retry'], 'taken-over': ['again'], failed: ['again'],
};
const QUIET = ['cancel', 'reconnecting'];

// Where there are no elements (a server that renders pages), the module can still be imported.
const Base = globalThis.HTMLElement ?? class {};

/** Its attributes, members, events, parts and properties are documented in docs/embedding.md. */
export class ScanLoginElement extends Base {
  static observedAttributes = ['endpoint'];

  #parts;
  #client = null;
  #texts = {};
  #ticker;
  #drawn;
  #said;

  connectedCallback() {
    this.#build();
    this.#ticker ??= setInterval(() => this.#tick(), TICK_MS);
    addEventListener('online', this.#show);
    addEventListener('offline', this.#show);
    document.addEventListener('visibilitychange', this.#show);
    if (!this.#client) this.#begin();
    this.#show();
  }

  disconnectedCallback() {
    // Moved within the page, it is connected again by then.
    queueMicrotask(() => {
      if (this.isConnected) return;
      clearInterval(this.#ticker);
      this.#ticker = undefined;
      removeEventListener('online', this.#show);
      removeEventListener('offline', this.#show);
      document.removeEventListener('visibilitychange', this.#show);
      this.#leave();
    });
  }

  attributeChangedCallback(_, before, now) {
    if (!this.#client || before === now) return;
    this.#leave();
    this.#begin();
  }

  /** The client behind it: what it knows about the login, and what it can be asked to do. */
  get client() {
    return this.#client;
  }

  get state() {
    const { state, connected, attempt } = this.#client ?? { state: 'idle' };
    if (connected || !['connecting', 'waiting', 'scanned'].includes(state)) return state;
    if (!attempt) return state === 'connecting' ? state : 'reconnecting';
    if (!navigator.onLine) return 'offline';
    return state === 'connecting' ? 'unavailable' : 'reconnecting';
  }

  /** Texts by name, before the attributes' and the language's. */
  get texts() {
    return this.#texts;
  }

  set texts(texts) {
    this.#texts = texts;
    this.#drawn = this.#said = undefined;
    if (this.#parts) this.#show();
  }

  start() {
    this.#client?.start();
  }

  restart() {
    this.#client?.restart();
  }

  cancel() {
    this.#client?.cancel();
  }

  retry() {
    this.#client?.retry();
  }

  #begin() {
    const transports = this.getAttribute('transports')?.split(/[\s,]+/);
    this.#client = new ScanLogin({ endpoint: this.getAttribute('endpoint'), transports });
    this.#client.addEventListener('change', this.#changed);
    this.#client.addEventListener('login', ({ detail }) => {
      this.dispatchEvent(new CustomEvent('login', { detail, bubbles: true, composed: true }));
    });
    this.#client.addEventListener('undelivered', () => {
      this.dispatchEvent(new Event('undelivered', { bubbles: true, composed: true }));
    });
    if (!this.hasAttribute('manual')) this.#client.start();
  }

  // A code that nobody sees any more is good for nobody; a token that is on its way still arrives.
  #leave() {
    const client = this.#client;
    this.#client = null;
    client?.removeEventListener('change', this.#changed);
    if (['connecting', 'waiting', 'scanned'].includes(client?.state)) client.cancel();
  }

  #build() {
    if (this.#parts) return;
    const part = (name, tag = 'div', attributes = {}, ...children) => make(tag, { part: name, ...attributes }, ...children);
    const headline = part('headline', 'p', { tabindex: '-1' });
    const hint = part('hint', 'p');
    const matchLabel = make('span');
    const digits = part('digits', 'strong');
    const match = part('match', 'p', {}, matchLabel, digits);
    const status = part('status', 'div', { role: 'status', 'aria-live': 'polite', 'aria-atomic': 'true' }, headline, hint, match);
    const qr = part('qr');
    const spinner = part('spinner', 'div', { 'aria-hidden': 'true' });
    const picture = part('picture', 'span', { 'aria-hidden': 'true' });
    const name = part('name', 'span');
    const person = part('person', 'div', {}, picture, name);
    const stroke = make('path');
    const symbol = make('svg', { part: 'symbol', viewBox: '0 0 48 48', 'aria-hidden': 'true' }, make('path', { d: 'M24 3a21 21 0 1 0 .1 0z' }), stroke);
    const stage = part('stage', 'div', {}, qr, spinner, person, symbol);
    const bar = make('div');
    const left = make('span');
    const time = make('time', { role: 'timer', 'aria-live': 'off' });
    const countdown = part('countdown', 'div', {}, part('bar', 'div', { 'aria-hidden': 'true' }, bar), make('span', {}, left, ' ', time));
    const next = part('next', 'p');
    const actions = part('actions');
    const frame = part('frame', 'div', {}, status, stage, countdown, next, actions);
    this.#parts = { frame, headline, hint, match, matchLabel, digits, qr, spinner, person, picture, name, symbol, stroke, bar, left, time, countdown, next, actions };

    const sheet = new CSSStyleSheet();
    sheet.replaceSync(style);
    const root = this.attachShadow({ mode: 'open' });
    // Not a <style>: the page's content security policy has nothing to say about this one.
    root.adoptedStyleSheets = [sheet];
    root.append(frame);
  }

  #text(name, values = {}) {
    const text = this.getAttribute(`text-${name}`) ?? this.#texts[name] ?? TEXTS[languageOf(this)][name];
    return text.replace(/\{(\w+)\}/g, (all, key) => values[key] ?? all);
  }

  #show = () => {
    if (!this.#parts || !this.#client) return;
    const view = this.state;
    const { state, login } = this.#client;
    const parts = this.#parts;
    const focused = this.shadowRoot.activeElement;
    const changed = this.getAttribute('state') !== view;
    if (changed) this.setAttribute('state', view);
    parts.frame.lang = languageOf(this);

    this.#say(view, state === 'scanned' ? login.match : undefined);
    if (state === 'scanned') this.#showPerson(login);
    parts.person.hidden = state !== 'scanned';
    parts.symbol.toggleAttribute('hidden', !OVER_VIEWS.includes(view));
    parts.symbol.classList.toggle('good', view === 'logged-in');
    parts.stroke.setAttribute('d', OVER[view] ?? BANG);
    parts.countdown.hidden = !['waiting', 'scanned'].includes(state);
    parts.left.textContent = this.#text('left');
    parts.next.hidden = !['reconnecting', 'unavailable', 'offline'].includes(view);
    this.#showButtons(view);
    this.#tick();
    // Whoever uses the keyboard would otherwise be thrown back to the top of the document.
    if (focused && !this.shadowRoot.activeElement) parts.headline.focus({ preventScroll: true });
    if (changed) this.dispatchEvent(new Event('change'));
    return changed;
  };

  // A new code in the same view is a change too.
  #changed = () => this.#show() || this.dispatchEvent(new Event('change'));

  // The same words are not written again: a screen reader would say them again.
  #say(view, match) {
    const { headline, hint, matchLabel, digits, match: block } = this.#parts;
    const said = JSON.stringify([view, match, languageOf(this)]);
    if (this.#said === said) return;
    this.#said = said;
    headline.textContent = this.#text(view);
    hint.textContent = this.#text(`${view}-hint`);
    block.hidden = match === undefined;
    matchLabel.textContent = this.#text('match');
    digits.textContent = match ?? '';
  }

  #showPerson({ name, picture }) {
    // Isolated, so that a name cannot turn around the words beside it.
    this.#parts.name.textContent = this.#text('scanned-by', { name: name ? `\u2068${name}\u2069` : this.#text('somebody') });
    const initials = (name ?? '?').trim().split(/\s+/).slice(0, 2).map((word) => [...word][0]?.toUpperCase()).join('');
    this.#parts.picture.replaceChildren(this.#isWelcome(picture) ? make('img', { src: picture, alt: '', referrerpolicy: 'no-referrer' }) : initials);
  }

  // The claim may name any address, and asking there tells that somebody is at this page.
  #isWelcome(picture) {
    if (!picture) return false;
    if (picture.startsWith('data:image/')) return true;
    const listed = (this.getAttribute('picture-origins') ?? '').split(/[\s,]+/);
    return URL.canParse(picture) && (listed.includes('*') || listed.includes(new URL(picture).origin));
  }

  #showButtons(view) {
    const { actions } = this.#parts;
    const names = BUTTONS[view] ?? [];
    const key = names.map((name) => name + this.#text(name)).join();
    if (actions.dataset.key === key) return;
    actions.dataset.key = key;
    actions.hidden = names.length === 0;
    actions.replaceChildren(...names.map((name) => {
      const primary = QUIET.includes(name) || QUIET.includes(view) ? '' : ' primary';
      const button = make('button', { type: 'button', part: `button ${name}${primary}` }, this.#text(name));
      button.addEventListener('click', () => this[name === 'again' ? 'restart' : name]());
      return button;
    }));
  }

  #tick() {
    if (!this.#client) return;
    const { state, connected, login, retryAt } = this.#client;
    const parts = this.#parts;
    const now = Date.now();
    if (login?.deadline && !parts.countdown.hidden) {
      const left = Math.max(0, login.deadline - now);
      const seconds = Math.ceil(left / 1000);
      parts.time.textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;
      parts.bar.style.transform = `scaleX(${left / login.span})`;
      parts.countdown.classList.toggle('short', left <= SHORT_MS);
    }
    // While the line is down a valid code can still be scanned, so it stays; a stale one would only fail the phone.
    const shown = state === 'waiting' && login?.qrSvg && (connected || now < login.validUntil);
    if (shown && this.#drawn !== login.key) {
      parts.qr.replaceChildren(drawing(login.qrSvg, this.#text('qr')) ?? '');
      this.#drawn = login.key;
    }
    parts.qr.hidden = !shown;
    parts.spinner.hidden = shown || !['connecting', 'waiting'].includes(state) || !parts.symbol.hasAttribute('hidden');
    const wait = retryAt === null ? 0 : Math.ceil((retryAt - now) / 1000);
    parts.next.textContent = wait > 1 ? this.#text('next', { seconds: wait }) : this.#text('trying');
  }
}
