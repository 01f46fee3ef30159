// docs/phone.md: its curl lines against the service; the Kotlin example compiled and run against it; Swift and Dart parsed,
// since no compiler of theirs can be had from a package registry.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Language, Parser } from 'web-tree-sitter';
import { ROOT, blocksOf } from '../browser/support/markdown.js';
import { startService } from '../browser/support/service.js';
import { runAndCompare } from '../browser/support/shell.js';
import { waitingBrowser } from './browser.js';

const run = promisify(execFile);
const EXAMPLES = `${ROOT}docs/examples/phone/`;
const PUBLIC = 'https://login.example.com';
const REQUIRED = { SCANLOGIN_CONFIRM: 'required' };
const ALWAYS = { ...REQUIRED, SCANLOGIN_MATCH: 'always' };

const services = new Map();
after(() => Promise.all([...services.values()].map(async (service) => (await service).stop())));

/** One of each kind for all tests. */
function service(env) {
  const kind = JSON.stringify(env);
  if (!services.has(kind)) services.set(kind, startService(env));
  return services.get(kind);
}

async function appToken({ origin }, user) {
  const headers = { 'Content-Type': 'application/json', Origin: origin };
  const response = await fetch(`${origin}/demo/app-token`, { method: 'POST', headers, body: JSON.stringify({ user }) });
  return (await response.json()).token;
}

const [scan, confirm, deny, outcome, digits] = (await blocksOf('docs/phone.md'))
  .filter(({ lang, note }) => lang === 'sh' && note?.includes('tests/phone'));

async function runBlock(block, { origin }, env) {
  const [first] = await runAndCompare(block, env, [[PUBLIC, origin]]);
  return first;
}

const otherThan = (number) => String((Number(number) + 1) % 100).padStart(2, '0');

test('the printed calls scan, confirm and tell the outcome', async () => {
  const on = await service({ ...REQUIRED, SCANLOGIN_TRUSTED_PROXIES: '127.0.0.0/8' });
  const browser = await waitingBrowser(on.origin);
  const APP_JWT = await appToken(on, 'alice');
  const { claim: CLAIM, browser: asker } = await runBlock(scan, on, { APP_JWT, KEY: browser.url });
  assert.equal(asker.browser_name, 'Firefox on Linux');
  assert.equal(asker.origin, on.origin);
  assert.equal((await browser.next('scanned')).name, 'Alice Example');
  await runBlock(confirm, on, { APP_JWT, CLAIM });
  await browser.receive();
  await runBlock(outcome, on, { APP_JWT, CLAIM });
});

test('the printed call declines', async () => {
  const on = await service(REQUIRED);
  const browser = await waitingBrowser(on.origin);
  const APP_JWT = await appToken(on, 'bob');
  const { claim: CLAIM } = await runBlock(scan, on, { APP_JWT, KEY: browser.key });
  await runBlock(deny, on, { APP_JWT, CLAIM });
  await browser.next('denied');
});

test('the printed calls bring the two digits', async () => {
  const on = await service(ALWAYS);
  const browser = await waitingBrowser(on.origin);
  const APP_JWT = await appToken(on, 'mei');
  const headers = { Authorization: `Bearer ${APP_JWT}`, 'Content-Type': 'application/json' };
  const scanned = await fetch(`${on.origin}/scan`, { method: 'POST', headers, body: JSON.stringify({ key: browser.key }) });
  const { claim: CLAIM } = await scanned.json();
  const { match } = await browser.next('scanned');
  await runBlock(digits, on, { APP_JWT, CLAIM, DIGITS: match, WRONG: otherThan(match) });
  await browser.receive();
});

const JSON_OF_ANDROID = '/usr/share/java/json-android.jar';
const hasJava = await run('java', ['-version']).then(() => existsSync(JSON_OF_ANDROID), () => false);
const skip = hasJava ? false : `needs java, and the org.json of Android (Debian: libandroid-json-org-java)`;

let classes;
const library = (name) => fileURLToPath(new URL(`node_modules/kotlin-compiler/lib/${name}.jar`, import.meta.url));
const STDLIB = library('kotlin-stdlib');

before(async () => {
  if (skip) return;
  classes = mkdtempSync(join(tmpdir(), 'phone-'));
  const compiler = ['kotlin-compiler', 'kotlin-stdlib', 'kotlin-script-runtime', 'kotlin-reflect', 'kotlinx-coroutines-core-jvm', 'annotations-13.0'];
  const main = fileURLToPath(new URL('Main.kt', import.meta.url));
  await run('java', [
    '-cp', compiler.map(library).join(':'), 'org.jetbrains.kotlin.cli.jvm.K2JVMCompiler',
    '-no-reflect', '-no-stdlib', '-Werror', '-cp', `${STDLIB}:${JSON_OF_ANDROID}`, '-d', classes, `${EXAMPLES}ScanLogin.kt`, main,
  ]);
});
after(() => classes && rmSync(classes, { recursive: true }));

/** Runs the app; answers with what it printed. */
async function app(on, user, code, ...decisions) {
  const token = await appToken(on, user);
  return run('java', ['-cp', `${classes}:${STDLIB}:${JSON_OF_ANDROID}`, 'MainKt', on.origin, token, code, ...decisions]);
}

test('the Kotlin example logs in, after a wrong number and the right one', { skip }, async () => {
  const on = await service(ALWAYS);
  const browser = await waitingBrowser(on.origin);
  // Asks three times at most: wrong, right. What is right is known once the browser shows it.
  const shown = browser.next('scanned');
  const token = await appToken(on, 'alice');
  const headers = { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' };
  await fetch(`${on.origin}/scan`, { method: 'POST', headers, body: JSON.stringify({ key: browser.key }) });
  const { match } = await shown;
  const phone = app(on, 'alice', browser.url, otherThan(match), match);
  await browser.receive();
  const { stdout } = await phone;
  assert.deepEqual(stdout.trim().split('\n'), [
    `asked: ${on.origin} Firefox on Linux [] true null`,
    `asked: ${on.origin} Firefox on Linux [] true 2`,
    'outcome: delivered',
  ]);
});

test('the Kotlin example logs in without a question where none is asked', { skip }, async () => {
  const on = await service({});
  const browser = await waitingBrowser(on.origin);
  const phone = app(on, 'mei', browser.url);
  await browser.receive();
  assert.equal((await phone).stdout.trim(), 'outcome: delivered');
});

test('the Kotlin example declines, and takes no code of anybody else’s', { skip }, async () => {
  const on = await service(REQUIRED);
  const browser = await waitingBrowser(on.origin);
  const { stdout } = await app(on, 'bob', browser.url, 'decline');
  assert.match(stdout, /outcome: denied/);
  await browser.next('denied');
  await assert.rejects(app(on, 'bob', `https://evil.example/s#${browser.key}`), /not one of ours/);
});

test('the Kotlin example takes a code as messengers hand it on, and tells what is none from what has expired', { skip }, async () => {
  const on = await service({});
  for (const dress of [(url) => url.replace('#', '%23'), (url) => `“${url}&fbclid=IwAR0”.`, (url) => `\u200e${url}?utm_source=x\u200b`]) {
    const browser = await waitingBrowser(on.origin);
    const phone = app(on, 'mei', dress(browser.url));
    await browser.receive();
    assert.equal((await phone).stdout.trim(), 'outcome: delivered');
  }
  assert.equal((await app(on, 'mei', `${on.origin}/s#no-key`)).stdout.trim(), 'no login code');
  assert.equal((await app(on, 'mei', `${on.origin}/s#${'A'.repeat(43)}`)).stdout.trim(), 'expired');
});

/** What a parser of the language does not understand. */
async function errors(language, file) {
  await Parser.init();
  const parser = new Parser();
  const grammar = new URL(`node_modules/tree-sitter-wasms/out/tree-sitter-${language}.wasm`, import.meta.url);
  parser.setLanguage(await Language.load(fileURLToPath(grammar)));
  const { rootNode } = parser.parse(readFileSync(file, 'utf8'));
  const found = [];
  const visit = (node) => {
    if (node.type === 'ERROR' || node.isMissing) found.push(`${node.startPosition.row + 1}: ${node.text.slice(0, 80)}`);
    node.children.forEach(visit);
  };
  visit(rootNode);
  return found;
}

for (const [language, name] of [['swift', 'ScanLogin.swift'], ['dart', 'scanlogin.dart']]) {
  test(`the example in ${language} has no mistake that a parser finds`, async () => {
    assert.deepEqual(await errors(language, EXAMPLES + name), []);
  });
}

test('all examples make the same calls and wait for the same states', () => {
  const words = ['/s', 'is_key|isKey', '/scan', '/scan/confirm', '/scan/deny', '/scan/outcome?wait=10', 'Scanlogin-Claim', 'Bearer', 'claim', 'match', '429', '503', '101', '200'];
  const files = readdirSync(EXAMPLES);
  assert.equal(files.length, 3);
  for (const file of files) {
    const text = readFileSync(EXAMPLES + file, 'utf8');
    for (const word of words) assert.ok(word.split('|').some((one) => text.includes(one)), `${file}: ${word}`);
    for (const state of ['waiting', 'scanned', 'approved']) assert.match(text, new RegExp(`["']${state}["']`), file);
  }
});
