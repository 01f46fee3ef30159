// Types of scan-login. What the words mean stands in docs/embedding.md of scanlogin.

/** Where a login stands. */
export type LoginState =
  /** Not started. */
  | 'idle'
  /** Asking for a code, or for the login of before a reload. */
  | 'connecting'
  /** A code is to be shown. */
  | 'waiting'
  /** Somebody has scanned and must confirm. */
  | 'scanned'
  | 'logged-in'
  | 'denied'
  | 'expired'
  | 'cancelled'
  /** Another tab went on with this login. */
  | 'taken-over'
  /** The service ended the connection and does not want to be asked again, or it never had the acknowledgement of a token. */
  | 'failed';

/** What `<scan-login>` shows: where the login stands, or what is wrong with the line. */
export type View = LoginState | 'reconnecting' | 'unavailable' | 'offline';

/** What the service told about the current login. Which fields are there depends on the state. */
export interface Login {
  /** `waiting`: the number of the code, from 1. */
  seq?: number;
  /** `waiting`: what a phone POSTs. */
  key?: string;
  /** `waiting`: what the QR code holds. */
  url?: string;
  /** `waiting`: the drawn code, an SVG document with its quiet zone. */
  qrSvg?: string;
  /** `waiting`: until when this code is good; ms since the epoch, on this machine's clock. */
  validUntil?: number;
  /**
   * Until when somebody may act on it; ms since the epoch, on this machine's clock. `logged-in`: until when the token can
   * be collected.
   */
  deadline: number;
  /** What `deadline` was ahead at first, in ms: for a bar that runs down. */
  span?: number;
  /** `scanned`: who scanned, where the app told it. */
  name?: string;
  /** `scanned`: a picture's address, where the app told it. Loading it tells that address about this browser. */
  picture?: string;
  /** `scanned`: the digits to enter on the phone, where the service asks for them. */
  match?: string;
  /** `logged-in`: who. */
  user?: string;
}

/** The detail of the event `login`. */
export interface LoginDetail {
  /** The web token; absent where the service delivers a cookie instead. */
  token?: string;
  /** `Bearer`, where there is a token. */
  tokenType?: string;
  /** Seconds until the token expires. */
  expiresIn?: number;
  /** Who is logged in, where the service told it. */
  user?: string;
}

export interface Options {
  /** The service's address, such as `https://login.example.com`. Default: the page's own origin. */
  endpoint?: string | URL;
  /** Where a login is remembered over a reload. Default: `sessionStorage`. */
  storage?: Pick<Storage, 'getItem' | 'setItem' | 'removeItem'>;
  /** The kinds of lines to try, the best first. Default: all, in this order. */
  transports?: ('socket' | 'stream' | 'poll')[];
}

export interface ScanLoginEventMap {
  /** The state, the connection or what is known about the login has changed. */
  change: Event;
  /** Logged in. When the listeners have returned, the token is acknowledged: store it in them. */
  login: CustomEvent<LoginDetail>;
  /** The token of `login` is not valid: the service never had its acknowledgement. Drop it, and show nobody as logged in. */
  undelivered: Event;
}

/** One login at a time, without any view. */
export class ScanLogin extends EventTarget {
  constructor(options?: Options);
  readonly state: LoginState;
  /** Whether the line to the service stands. */
  readonly connected: boolean;
  readonly login: Login | null;
  /** Failed attempts in a row. */
  readonly attempt: number;
  /** When the next attempt starts, in ms since the epoch; `null` while none is due. */
  readonly retryAt: number | null;
  /**
   * Whether the service has not confirmed yet that a token was acknowledged. After a reload `start()` says it again; until
   * then the client does so by itself.
   */
  readonly unacknowledged: boolean;
  /** Goes on with the login that this tab had before a reload, else begins one. Only the first call does anything. */
  start(): void;
  /** A new login, whatever there was. */
  restart(): void;
  /** The user leaves on purpose: nobody shall be able to use the code any more. */
  cancel(): void;
  /**
   * Tries now, and does not wait for the back-off. `spreadMs` adds a random pause of up to that much. Called by itself when
   * the page comes back into sight, from a freeze, from the back-forward cache or online.
   */
  retry(spreadMs?: number): void;
  addEventListener<K extends keyof ScanLoginEventMap>(
    type: K, listener: (this: ScanLogin, event: ScanLoginEventMap[K]) => void, options?: boolean | AddEventListenerOptions): void;
  addEventListener(type: string, listener: EventListenerOrEventListenerObject | null, options?: boolean | AddEventListenerOptions): void;
}

/** `<scan-login>`. */
export class ScanLoginElement extends HTMLElement {
  /** The client behind it; `null` while the element is in no page. */
  readonly client: ScanLogin | null;
  /** What is shown; also in the attribute `state`. */
  readonly state: View;
  /** Texts by name. An attribute `text-<name>` goes before them. */
  texts: Record<string, string>;
  /** See {@link ScanLogin.start}; called by itself unless there is an attribute `manual`. */
  start(): void;
  restart(): void;
  cancel(): void;
  retry(): void;
  addEventListener<K extends keyof ScanLoginEventMap>(
    type: K, listener: (this: ScanLoginElement, event: ScanLoginEventMap[K]) => void, options?: boolean | AddEventListenerOptions): void;
  addEventListener<K extends keyof HTMLElementEventMap>(
    type: K, listener: (this: ScanLoginElement, event: HTMLElementEventMap[K]) => void, options?: boolean | AddEventListenerOptions): void;
  addEventListener(type: string, listener: EventListenerOrEventListenerObject, options?: boolean | AddEventListenerOptions): void;
}

declare global {
  interface HTMLElementTagNameMap {
    'scan-login': ScanLoginElement;
  }
}
