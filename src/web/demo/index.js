// The desktop page: only a view on ./client.js.
import { ScanLogin, WebSession } from './client.js';

const $ = (id) => document.getElementById(id);
const main = $('login');

const session = new WebSession(sessionStorage);
const client = new ScanLogin({
  endpoint: new URL('/ws', location.href),
  storage: sessionStorage,
  saveToken: (token) => session.save(token),
});

const TEXTS = {
  checking: ['One moment', 'Checking your login with the service…'],
  connecting: ['Log in with your phone', 'Asking the service for a code…'],
  waiting: ['Log in with your phone', 'Point the camera of your phone at the code.'],
  scanned: ['Confirm on your phone', 'Your phone shows who asks and from where. Approve it there and this page goes on by itself.'],
  'logged-in': ['You are logged in', 'No password was typed on this computer.'],
  denied: ['Declined on the phone', 'Nobody was logged in. If that was a slip, show a new code and scan again.'],
  expired: ['The code has expired', 'Codes are short-lived on purpose. Nothing happened; a new one takes a second.'],
  cancelled: ['Cancelled', 'The code is no longer good, for anyone.'],
  reconnecting: ['Connection lost', 'This login is kept, and goes on by itself.'],
  unavailable: ['Can’t reach the service', 'It may be busy, or you may be offline.'],
  'taken-over': ['Continued elsewhere', 'Another tab went on with this login.'],
  failed: ['That did not work', 'The service ended the connection. A new code usually helps.'],
  ended: ['You were logged out', 'This login was ended: by a newer one of the same user, or by the service.'],
};

function show(state) {
  if (main.dataset.state === state) return;
  main.dataset.state = state;
  const focused = document.activeElement;
  for (const element of main.querySelectorAll('[data-when]')) {
    element.toggleAttribute('hidden', !element.dataset.when.split(' ').includes(state));
  }
  const [headline, explanation] = TEXTS[state];
  $('headline').textContent = headline;
  $('explanation').textContent = explanation;
  $('problem').hidden = true;
  document.title = `${headline} · scanlogin`;
  // Whoever uses the keyboard would otherwise be thrown back to the top of the document.
  if (focused && focused !== document.body && focused.closest('[hidden]')) $('headline').focus();
}

function trouble(text) {
  $('problem').textContent = text;
  $('problem').hidden = false;
}

function showPerson(picture, label, { name, image, fallback }) {
  $(label).textContent = name ?? fallback;
  // The claim may name any address. A demo that promises no foreign request shows only what is in the claim itself.
  const shown = image?.startsWith('data:image/') ? Object.assign(new Image(), { src: image, alt: '' }) : initials(name ?? fallback);
  $(picture).replaceChildren(shown);
}

const initials = (name) => name.split(/\s+/).slice(0, 2).map((word) => word.charAt(0).toUpperCase()).join('');

function render() {
  const { state, connected, login } = client;
  if (state === 'logged-in') return void showLoggedIn();
  if (state === 'connecting') return show(client.attempt > 0 ? 'unavailable' : 'connecting');
  if (state === 'waiting') {
    if (login.qrSvg && $('qr').dataset.key !== login.key) {
      $('qr').src = `data:image/svg+xml,${encodeURIComponent(login.qrSvg)}`;
      $('qr').dataset.key = login.key;
    }
    $('simulator').href = `/s#${login.key}`;
  }
  if (state === 'scanned') {
    showPerson('scanned-picture', 'scanned-name', { name: login.name, image: login.picture, fallback: 'Somebody' });
    $('match').hidden = login.match === undefined;
    $('match-digits').textContent = login.match ?? '';
  }
  show(!connected && (state === 'waiting' || state === 'scanned') ? 'reconnecting' : state);
  tick();
}

function tick() {
  const { state, connected, login, retryAt } = client;
  const shown = main.dataset.state;
  const now = Date.now();
  if (login?.deadline && ['waiting', 'scanned', 'reconnecting'].includes(shown)) {
    const left = Math.max(0, login.deadline - now);
    const seconds = Math.ceil(left / 1000);
    $('left').textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;
    $('left-bar').value = left / login.span;
    main.toggleAttribute('data-short', seconds <= 15);
    // While the line is down a valid code can still be scanned, so it stays; a stale one would only fail the phone.
    $('qr').hidden = state !== 'waiting' || !login.qrSvg || (!connected && now > login.validUntil);
    $('qr-missing').hidden = !$('qr').hidden;
  }
  const wait = retryAt === null ? 0 : Math.ceil((retryAt - now) / 1000);
  const next = wait > 1 ? `Next attempt in ${wait} s.` : 'Trying now…';
  $('retry').textContent = navigator.onLine ? next : `This device is offline. ${next}`;
}

let checks = 0;

/** Asks the service who this is: what a token says about itself is not shown as the truth. */
async function showLoggedIn() {
  if (!session.token) return client.restart();
  const check = ++checks;
  if (main.dataset.state !== 'logged-in') show('checking');
  let facts;
  for (let attempt = 0; facts === undefined; attempt += 1) {
    facts = await session.verify().catch(() => undefined);
    if (check !== checks) return;
    if (facts === undefined) {
      if (main.dataset.state === 'logged-in') return;
      show('unavailable');
      await pause(Math.random() * Math.min(30_000, 1_000 * 2 ** attempt));
    }
  }
  if (facts === null) {
    const seenLoggedIn = main.dataset.state === 'logged-in';
    session.clear();
    return seenLoggedIn ? show('ended') : client.restart();
  }
  const person = await demoUser(facts.user);
  if (check !== checks) return;
  showPerson('user-picture', 'user-name', { ...person, fallback: facts.user });
  $('user').textContent = facts.user;
  $('platform').textContent = facts.platform;
  const until = new Date(facts.expires_at * 1000);
  $('until').dateTime = until.toISOString();
  $('until').textContent = until.toLocaleString('en-GB', { dateStyle: 'long', timeStyle: 'short' });
  $('claims').textContent = claimsOf(session.token);
  show('logged-in');
}

async function demoUser(id) {
  if (client.login?.name) return { name: client.login.name, image: client.login.picture };
  const users = await fetch('/demo/users').then((response) => response.json()).catch(() => []);
  const user = users.find((candidate) => candidate.id === id);
  return { name: user?.name, image: user?.picture };
}

function claimsOf(token) {
  try {
    const bytes = Uint8Array.from(atob(token.split('.')[1].replace(/-/g, '+').replace(/_/g, '/')), (char) => char.charCodeAt(0));
    return JSON.stringify(JSON.parse(new TextDecoder().decode(bytes)), null, 2);
  } catch {
    return 'An opaque token, without readable claims.';
  }
}

let wake = () => {};
function pause(ms) {
  return new Promise((resolve) => {
    wake = resolve;
    setTimeout(resolve, ms);
  });
}

async function copyKey() {
  const { key } = client.login;
  try {
    await navigator.clipboard.writeText(key);
  } catch {
    // Opened by its LAN address the page is no secure context and has no clipboard of the modern kind.
    const field = Object.assign(document.createElement('textarea'), { value: key, className: 'off-screen' });
    document.body.append(field);
    field.select();
    document.execCommand('copy');
    field.remove();
  }
  $('copy').textContent = 'Copied';
  setTimeout(() => ($('copy').textContent = 'Copy key'), 2_000);
}

async function logOut() {
  $('log-out').disabled = true;
  try {
    await session.logOut();
    checks += 1;
    client.restart();
  } catch {
    trouble('The log-out did not reach the service, so you are still logged in. Please try again.');
  }
  $('log-out').disabled = false;
}

client.addEventListener('change', render);
$('again').addEventListener('click', () => client.restart());
$('start-over').addEventListener('click', () => client.restart());
$('cancel').addEventListener('click', () => client.cancel());
$('copy').addEventListener('click', copyKey);
$('log-out').addEventListener('click', logOut);
$('try-now').addEventListener('click', () => {
  wake();
  client.retryNow();
});
addEventListener('online', () => client.retryNow(1_000));
document.addEventListener('visibilitychange', () => {
  if (document.hidden) return;
  client.retryNow(1_000);
  if (main.dataset.state === 'logged-in') showLoggedIn();
});
$('loopback').hidden = !/^(localhost|127\.[\d.]+|\[::1\])$/.test(location.hostname);
setInterval(tick, 250);

if (session.token) showLoggedIn();
if (!session.token || client.unacknowledged) client.start();
