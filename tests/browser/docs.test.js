// What the documentation prints is run by a test, or is a piece of a file that is; and what it links to is there.
import assert from 'node:assert/strict';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { ROOT, blocksOf } from './support/markdown.js';

const markdown = (folder) => readdirSync(ROOT + folder, { recursive: true }).filter((name) => name.endsWith('.md')).map((name) => `${folder}/${name}`);
const PAGES = ['README.md', ...markdown('docs'), 'src/web/scan-login/README.md'];
const read = (path) => readFileSync(ROOT + path, 'utf8');

/** What is wrong with what a block's comment says about it. */
function problem({ lang, text, note }, page) {
  if (lang === 'mermaid') return null;
  const [, kind, value] = note?.match(/^(run|from|not run): (.+)$/) ?? [];
  if (!kind) return 'a comment before it must say: run: <test>, from: <file>, or not run: <reason>';
  if (kind === 'not run') return null;
  if (!existsSync(ROOT + value)) return `there is no ${value}`;
  if (kind === 'from') return read(value).includes(text) ? null : `not a piece of ${value}`;
  return read(value).includes(page) ? null : `${value} does not speak of ${page}`;
}

/** The anchor that a forge makes of a heading. */
const anchor = (heading) => heading.toLowerCase().replace(/[^\p{L}\p{N} _-]/gu, '').replaceAll(' ', '-');

for (const page of PAGES) {
  test(`every snippet of ${page} is run, or is a piece of what is`, async () => {
    const problems = (await blocksOf(page)).map((block) => [block.line, problem(block, page)]).filter(([, what]) => what);
    assert.deepEqual(problems.map(([line, what]) => `${page}:${line}: ${what}`), []);
  });

  test(`every link of ${page} leads somewhere`, () => {
    const broken = [...read(page).matchAll(/\]\(([^)\s]+)\)/g)].map(([, link]) => link).filter((link) => !/^[a-z]+:/.test(link)).filter((link) => {
      const [path, fragment] = link.split('#');
      const target = path ? join(dirname(page), path) : page;
      if (!existsSync(ROOT + target)) return true;
      if (!fragment || !target.endsWith('.md')) return false;
      return ![...read(target).matchAll(/^#+ (.+)$/gm)].some(([, heading]) => anchor(heading) === fragment);
    });
    assert.deepEqual(broken, []);
  });
}
