// The phone simulator: what an app does after its camera has read a code, with a person in between.

const $ = (id) => document.getElementById(id);
const main = $('phone');

const TEXTS = {
  ready: ['Log in a browser', 'This page plays an app in which you are already logged in.'],
  sending: ['Log in a browser', 'Asking the service…'],
  error: ['That did not work', ''],
  confirm: ['Is this you?', 'A browser asks to be logged in as you.'],
  working: ['Approved', 'Waiting until the browser has it…'],
  delivered: ['Done', 'The browser has confirmed that it is logged in.'],
  undelivered: ['Not logged in', 'You approved, but the browser did not collect its login in time. Nothing is left open.'],
  denied: ['Declined', 'That browser was told no. Nobody was logged in.'],
  expired: ['Too late', 'The code ran out before it was confirmed. Show a new one on the computer.'],
  cancelled: ['Cancelled', 'The page on the computer gave up before you decided.'],
  done: ['Done', 'The service took the scan. Look at the browser.'],
};

const PROBLEMS = {
  '-1': 'This code is not known. It may have expired, been used, or its page was closed. Show a new one on the computer.',
  '-2': 'The service did not accept the app’s own login. Tap again: the app fetches a fresh one.',
  '-3': 'Somebody else was first with this code, or its login has already gone further.',
  '-4': 'Too many attempts for now.',
  '-5': 'That does not look like a login code. Scan it again, or copy all of it.',
  '-6': 'The service is busy or can’t reach its store.',
  '-7': 'The service refused: this login belongs to somebody else, or this page’s address is not allowed to ask.',
};
// Nothing has expired: something else was scanned.
const NO_KEY = 'This is no login code. Scan the one on the computer, or copy all of it.';

// Said as what it means for the person, not as what was measured.
const FLAGS = {
  address_differs: 'The computer is on another network than this phone.',
  address_known_to_user: 'You have logged in from that address before.',
};
const SAME_NETWORK = 'The computer is on the same network as this phone.';
const NO_PAGE = 'No web page asks, but a program or a device. Approve only if you started it yourself, just now.';
// What speaks for the login looks calm, what speaks against it does not.
const CALM = [FLAGS.address_known_to_user, SAME_NETWORK];

const RECEIPT_PATIENCE_MS = 180_000;

/** An answer of the service other than the one hoped for, in words for a person. */
class Refusal extends Error {
  constructor(status, body, retryAfter) {
    const again = retryAfter ? ` Try again in ${retryAfter} s.` : '';
    const tries = body.tries_left === undefined ? '' : `That number is not the one on the computer. Tries left: ${body.tries_left}.`;
    const problem = body.is_key === false ? NO_KEY : PROBLEMS[body.code] ?? `The service answered ${status}.`;
    super(tries || problem + again);
    Object.assign(this, { status, code: body.code, triesLeft: body.tries_left });
  }
}

async function call(method, path, { user, claim, body } = {}) {
  const headers = {};
  if (user) headers.Authorization = `Bearer ${await appToken(user)}`;
  if (claim) headers['Scanlogin-Claim'] = claim;
  if (body) headers['Content-Type'] = 'application/json';
  let response;
  try {
    response = await fetch(path, { method, headers, body: body && JSON.stringify(body), cache: 'no-store' });
  } catch {
    // Every call may be repeated: the same user gets the same answer and the same claim.
    throw Object.assign(new Error('The service can’t be reached. Check the connection and tap again.'), { code: 'network' });
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refusal(response.status, answer, response.headers.get('Retry-After'));
  return answer;
}

// A fresh one for each call: one that was kept would be dead after an hour, or after a night's sleep of the laptop.
async function appToken(user) {
  const { token } = await call('POST', '/demo/app-token', { body: { user: user.id } });
  return token;
}

function show(state, explanation) {
  main.dataset.state = state;
  if (state !== 'error') delete main.dataset.code;
  for (const element of main.querySelectorAll('[data-when]')) {
    element.toggleAttribute('hidden', !element.dataset.when.split(' ').includes(state));
  }
  $('headline').textContent = TEXTS[state][0];
  $('explanation').textContent = explanation ?? TEXTS[state][1];
  $('submit').disabled = state === 'sending';
  $('problem').hidden = true;
  const focused = document.activeElement;
  if (focused && focused !== document.body && focused.closest('[hidden]')) $('headline').focus();
}

function complain(error) {
  main.dataset.code = error.code ?? 'none';
  $('problem').textContent = error.message;
  $('problem').hidden = false;
  $('problem').scrollIntoView({ block: 'nearest' });
}

function fail(error) {
  show('error');
  complain(error);
}

let users = [];
const chosen = () => users.find(({ id }) => id === $('form').elements.user?.value);
const firstName = (user) => user.name.split(/\s+/)[0];

async function loadUsers() {
  users = await call('GET', '/demo/users');
  $('users').replaceChildren(...users.map(userChoice));
  nameButton();
}

function userChoice(user, index) {
  const label = Object.assign(document.createElement('label'), { className: 'user' });
  label.dataset.testid = `user-${user.id}`;
  const avatar = Object.assign(document.createElement('span'), { className: 'avatar', ariaHidden: 'true' });
  const initials = user.name.split(/\s+/).slice(0, 2).map((word) => word.charAt(0)).join('');
  avatar.append(user.picture?.startsWith('data:image/') ? Object.assign(new Image(), { src: user.picture, alt: '' }) : initials);
  const input = Object.assign(document.createElement('input'), { type: 'radio', name: 'user', value: user.id, checked: index === 0 });
  label.append(avatar, user.name, input);
  return label;
}

function nameButton() {
  const user = chosen();
  $('submit').textContent = user ? `Log in this browser as ${firstName(user)}` : 'Log in this browser';
}

// Whoever starts anew is not to be interrupted by what became of the scan before.
let attempt = 0;

function takeKeyFromLink() {
  const key = location.hash.slice(1);
  if (!key) return;
  attempt += 1;
  $('key').value = key;
  // Opening a link decides nothing: somebody else may have sent it.
  $('key-hint').textContent = 'Taken from the link you opened. Nothing happens before you tap.';
  show('ready');
}

async function submit(event) {
  event.preventDefault();
  // As it is: the service finds the key in an address, and in what messengers make of one.
  const key = $('key').value.trim();
  if (!key) {
    fail(new Error('Scan the code of the computer first, or paste it.'));
    return $('key').focus();
  }
  stopCamera();
  const user = chosen();
  attempt += 1;
  show('sending');
  try {
    const answer = await call('POST', '/scan', { user, body: { key } });
    if (answer.code === 101) askPerson(user, answer);
    else await followReceipt(user, answer.claim);
  } catch (error) {
    fail(error);
  }
}

// The screen on which phishing succeeds or fails. Whoever sends somebody a code of their own hopes for a tap
// without a look, so: first what the service has seen itself, and what speaks against it, in words. Page and browser
// come after, marked as what they are: what the asker says of itself. A browser tells the truth about its page; any
// program can say the same. Nothing is preselected, no button is the big one, and closing the app decides nothing:
// that login expires.
function askPerson(user, { claim, browser = {}, flags = [], match }) {
  list('facts', [
    ['Asked', browser.age_ms === undefined ? undefined : ago(browser.age_ms)],
    ['Address', browser.ip],
  ]);
  list('said', [
    ['Page', browser.origin || 'none'],
    ['Browser', browser.browser_name],
  ]);
  $('said').classList.toggle('no-page', !browser.origin);
  // A flag of a later version is shown as it is called: better than not at all.
  const words = flags.map((flag) => FLAGS[flag] ?? flag.replaceAll('_', ' '));
  if (browser.ip && !flags.includes('address_differs')) words.push(SAME_NETWORK);
  if (!browser.origin) words.unshift(NO_PAGE);
  $('flags').replaceChildren(...words.map((text) => Object.assign(document.createElement('li'), {
    textContent: text,
    className: CALM.includes(text) ? 'calm' : '',
  })));
  $('flags').hidden = words.length === 0;
  // For whoever wants to know; nobody compares it with anything.
  $('user-agent').textContent = browser.user_agent ?? '';
  $('details').hidden = !browser.user_agent;
  $('match').hidden = !match;
  $('digits').value = '';
  $('digits-problem').hidden = true;
  show('confirm', `A browser asks to be logged in as ${user.name}.`);
  $('headline').focus();

  $('approve').onclick = () => decide(async () => {
    const digits = $('digits').value.trim();
    if (match && !/^[0-9]{2}$/.test(digits)) {
      throw Object.assign(new Error('Type the two digits that the computer shows.'), { code: 'digits' });
    }
    const body = match ? { claim, match: digits } : { claim };
    await call('POST', '/scan/confirm', { user, body });
    await followReceipt(user, claim);
  });
  $('decline').onclick = () => decide(async () => {
    await call('POST', '/scan/deny', { user, body: { claim } });
    show('denied');
  });
}

/** Rows of a name and a value; those without a value are left out. */
function list(id, rows) {
  $(id).replaceChildren(...rows.filter(([, value]) => value).map(([name, value]) => {
    const row = document.createElement('div');
    row.append(Object.assign(document.createElement('dt'), { textContent: name }));
    row.append(Object.assign(document.createElement('dd'), { textContent: value }));
    return row;
  }));
}

async function decide(action) {
  $('approve').disabled = $('decline').disabled = true;
  $('problem').hidden = $('digits-problem').hidden = true;
  try {
    await action();
  } catch (error) {
    // A wrong number, or a line that broke: the question still stands.
    if (error.code === 'digits' || error.triesLeft > 0) askAgain(error);
    else if (['network', -4, -6].includes(error.code)) complain(error);
    else if (error.triesLeft === 0) show('denied', 'Three wrong numbers: that browser was told no. Nobody was logged in.');
    else fail(error);
  }
  $('approve').disabled = $('decline').disabled = false;
}

/** Beside the field that is to be filled in again: at the top nobody would see it. */
function askAgain(error) {
  main.dataset.code = error.code;
  $('digits-problem').textContent = error.message;
  $('digits-problem').hidden = false;
  $('digits').value = '';
  $('digits').focus();
}

function ago(ms) {
  if (ms < 5_000) return 'just now';
  return ms < 60_000 ? `${Math.round(ms / 1000)} seconds ago` : `${Math.round(ms / 60_000)} min ago`;
}

/** "Taken" is not "arrived": only the receipt says whether the browser really has its token. */
async function followReceipt(user, claim) {
  const mine = attempt;
  if (!claim) return show('done');
  show('working');
  const patience = Date.now() + RECEIPT_PATIENCE_MS;
  while (mine === attempt && Date.now() < patience) {
    const asked = Date.now();
    let receipt = {};
    try {
      receipt = await call('GET', '/scan/outcome?wait=10', { user, claim });
    } catch (error) {
      if (error.status === 404) return show('done');
      if (error.status && error.status < 500 && error.status !== 429) throw error;
    }
    if (mine !== attempt) return;
    if (['delivered', 'undelivered', 'denied', 'expired', 'cancelled'].includes(receipt.state)) {
      const person = `The browser has confirmed that it is logged in as ${user.name}.`;
      return show(receipt.state, receipt.state === 'delivered' ? person : undefined);
    }
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, 1_000 - (Date.now() - asked))));
  }
  if (mine === attempt) show('done');
}

let stream = null;

async function offerCamera() {
  const formats = (await globalThis.BarcodeDetector?.getSupportedFormats().catch(() => [])) ?? [];
  const able = formats.includes('qr_code') && navigator.mediaDevices?.getUserMedia !== undefined;
  $('camera').hidden = !able;
  if (!able && !$('key-hint').textContent) {
    $('key-hint').textContent = 'This browser can’t read QR codes itself: use the camera app of your phone, or copy the key.';
  }
}

async function useCamera() {
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: 'environment' } });
  } catch {
    return complain(new Error('The camera is not available. Allow it, or paste the key.'));
  }
  $('use-camera').hidden = true;
  $('video').hidden = false;
  $('video').srcObject = stream;
  await $('video').play();
  const detector = new BarcodeDetector({ formats: ['qr_code'] });
  while (stream) {
    const [code] = await detector.detect($('video')).catch(() => []);
    if (code) {
      $('key').value = code.rawValue;
      $('key-hint').textContent = 'Read by the camera.';
      stopCamera();
      $('submit').focus();
    }
    await new Promise(requestAnimationFrame);
  }
}

function stopCamera() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  $('video').hidden = true;
  $('use-camera').hidden = false;
}

$('form').addEventListener('submit', submit);
$('users').addEventListener('change', nameButton);
$('use-camera').addEventListener('click', useCamera);
$('another').addEventListener('click', () => {
  attempt += 1;
  $('key').value = '';
  $('key-hint').textContent = '';
  history.replaceState(null, '', location.pathname);
  show('ready');
});
addEventListener('hashchange', takeKeyFromLink);
addEventListener('pagehide', stopCamera);

takeKeyFromLink();
offerCamera();
loadUsers().then(() => show('ready'), fail);
