// The desktop page: `<scan-login>`, and what a site does around it once somebody is logged in.
import { WebSession } from './session.js';

const $ = (id) => document.getElementById(id);
const main = $('login');
const element = document.querySelector('scan-login');
const session = new WebSession(sessionStorage);

const TEXTS = {
  checking: ['One moment', 'Checking your login with the service…'],
  login: ['No password needed', 'Your phone knows you already.'],
  'logged-in': ['You are logged in', 'No password was typed on this computer.'],
  ended: ['You were logged out', 'This login was ended: by a newer one of the same user, or by the service.'],
};

// The three parts of the page; while it logs in, the element says where it stands.
function show(part) {
  main.dataset.state = part === 'login' ? element.state : part;
  const focused = document.activeElement;
  for (const one of main.querySelectorAll('[data-when]')) {
    one.toggleAttribute('hidden', !one.dataset.when.split(' ').includes(part));
  }
  $('actions').hidden = main.dataset.state !== 'waiting';
  const [headline, explanation] = TEXTS[part];
  if ($('headline').textContent !== headline) {
    $('headline').textContent = headline;
    $('explanation').textContent = explanation;
    $('problem').hidden = true;
    document.title = `${headline} · scanlogin`;
  }
  // Whoever uses the keyboard would otherwise be thrown back to the top of the document.
  if (focused && focused !== document.body && focused.closest('[hidden]')) $('headline').focus();
}

function trouble(text) {
  $('problem').textContent = text;
  $('problem').hidden = false;
}

element.addEventListener('change', () => {
  const { state, login } = element.client;
  if (state === 'idle') return;
  // Not at once: after a ticket was redeemed, `login` comes right behind.
  if (state === 'logged-in') return queueMicrotask(showLoggedIn);
  if (login?.key) $('simulator').href = `/s#${login.key}`;
  show('login');
});
element.addEventListener('login', ({ detail }) => session.save(detail.token));
element.addEventListener('undelivered', () => {
  session.clear();
  // What is being asked about it is of no interest any more.
  checks += 1;
});

let checks = 0;

/** Asks the service who this is: what a token says about itself is not shown as the truth. */
async function showLoggedIn() {
  if (!session.exists) return element.restart();
  const check = ++checks;
  if (main.dataset.state !== 'logged-in') show('checking');
  let facts;
  for (let attempt = 0; facts === undefined; attempt += 1) {
    facts = await session.verify().catch(() => undefined);
    if (check !== checks) return;
    if (facts === undefined) {
      if (main.dataset.state === 'logged-in') return;
      trouble('The service can’t be reached. This page keeps trying.');
      await new Promise((resolve) => setTimeout(resolve, Math.random() * Math.min(30_000, 1_000 * 2 ** attempt)));
    }
  }
  $('problem').hidden = true;
  if (facts === null) {
    const seenLoggedIn = main.dataset.state === 'logged-in';
    session.clear();
    return seenLoggedIn ? show('ended') : element.restart();
  }
  const person = await demoUser(facts.user);
  if (check !== checks) return;
  showPerson({ ...person, fallback: facts.user });
  $('user').textContent = facts.user;
  $('platform').textContent = facts.platform;
  const until = new Date(facts.expires_at * 1000);
  $('until').dateTime = until.toISOString();
  $('until').textContent = until.toLocaleString('en-GB', { dateStyle: 'long', timeStyle: 'short' });
  $('claims').textContent = session.token ? claimsOf(session.token) : 'A cookie, __Host-scanlogin: no script of this page can read it.';
  show('logged-in');
}

function showPerson({ name, image, fallback }) {
  $('user-name').textContent = name ?? fallback;
  // The claim may name any address. A demo that promises no foreign request shows only what is in the claim itself.
  const shown = image?.startsWith('data:image/') ? Object.assign(new Image(), { src: image, alt: '' }) : initials(name ?? fallback);
  $('user-picture').replaceChildren(shown);
}

const initials = (name) => name.split(/\s+/).slice(0, 2).map((word) => word.charAt(0).toUpperCase()).join('');

async function demoUser(id) {
  const { login } = element.client;
  if (login?.name) return { name: login.name, image: login.picture };
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

async function copyKey() {
  const { key } = element.client.login;
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
    element.restart();
  } catch {
    trouble('The log-out did not reach the service, so you are still logged in. Please try again.');
  }
  $('log-out').disabled = false;
}

$('again').addEventListener('click', () => element.restart());
$('cancel').addEventListener('click', () => element.cancel());
$('copy').addEventListener('click', copyKey);
$('log-out').addEventListener('click', logOut);
document.addEventListener('visibilitychange', () => {
  if (!document.hidden && main.dataset.state === 'logged-in') showLoggedIn();
});
$('loopback').hidden = !/^(localhost|127\.[\d.]+|\[::1\])$/.test(location.hostname);

if (session.exists) showLoggedIn();
if (!session.exists || element.client.unacknowledged) element.start();
