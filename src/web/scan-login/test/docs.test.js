// What docs/embedding.md lists is what there is: no text, part, property, attribute or state is missing, and none is invented.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { TEXTS } from '../src/texts.js';

const read = (path) => readFile(new URL(path, import.meta.url), 'utf8');
const docs = await read('../../../../docs/embedding.md');
const [css, element, types] = await Promise.all(['../src/style.css', '../src/element.js', '../scanlogin.d.ts'].map(read));

const all = (text, pattern) => [...new Set([...text.matchAll(pattern)].map(([, found]) => found))].sort();
const between = (from, to) => docs.slice(docs.indexOf(from), docs.indexOf(to, docs.indexOf(from)));

test('every text is named', () => {
  assert.deepEqual(all(between('Names:', '. In\n'), /`([^`]+)`/g), Object.keys(TEXTS.en).sort());
});

test('every part is named, and every part that is styled exists', () => {
  const made = [...all(element, /part\('([\w-]+)'/g), ...all(element, /part: '([\w-]+)'/g), 'button', 'primary'].sort();
  assert.deepEqual(all(between('Parts for', '\n\n'), /`([\w-]+)`/g), made);
  for (const styled of all(css, /\[part~="([\w-]+)"\]/g)) assert.ok(made.includes(styled), styled);
});

test('every custom property is named', () => {
  const listed = all(between('| custom property', '\n\n'), /`(--[\w-]+)`/g);
  assert.deepEqual(listed, all(css, /(--scan-login-[\w-]+)/g));
});

test('every state is explained', () => {
  const declared = all(types.slice(types.indexOf('type LoginState'), types.indexOf('/** What the service told')), /\| '([\w-]+)'/g);
  assert.deepEqual(all(between('| state | what', '\n\n'), /`([\w-]+)`(?=[^|]*\|[^|]*\|)/g).filter((name) => name !== 'manual'), declared);
});

test('every attribute is explained', () => {
  const read = all(element, /this\.(?:get|has)Attribute\('([\w-]+)'\)/g).filter((name) => name !== 'state');
  const listed = all(between('| attribute', '\n\n'), /^\| `([\w-]+)`/gm);
  for (const name of read) assert.ok(listed.includes(name), name);
});
