// The committed build is what the sources make, small enough, and what its types say.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { build } from '../build.js';

const MOST_BYTES = 12 * 1024;
const read = (path) => readFile(new URL(path, import.meta.url), 'utf8');

test('dist/ is what `npm run build` makes', async () => {
  for (const [name, text] of Object.entries(await build())) {
    assert.ok((await read(`../dist/${name}`)) === text, `dist/${name} is stale: npm run build`);
  }
});

test('the module is under 12 KiB gzipped', async () => {
  const size = gzipSync(await read('../dist/scanlogin.js'), { level: 9 }).length;
  assert.ok(size < MOST_BYTES, `${size} bytes`);
});

test('the module imports nothing and has its source map beside it', async () => {
  const text = await read('../dist/scanlogin.js');
  assert.doesNotMatch(text, /\bimport\b/);
  assert.match(text, /^\/\/# sourceMappingURL=scanlogin\.js\.map$/m);
  const map = JSON.parse(await read('../dist/scanlogin.js.map'));
  assert.ok(map.sources.includes('../src/client.js'));
  assert.equal(map.sourcesContent.length, map.sources.length);
});

test('the version is the crate’s', async () => {
  const [, crate] = (await read('../../../../Cargo.toml')).match(/^version = "(.*)"$/m);
  assert.equal(JSON.parse(await read('../package.json')).version, crate);
});

test('what is exported is what the types declare, and can be imported where there is no page', async () => {
  const module = await import('../dist/scanlogin.js');
  const declared = [...(await read('../scanlogin.d.ts')).matchAll(/^export class (\w+)/gm)].map(([, name]) => name);
  assert.deepEqual(Object.keys(module).sort(), declared.sort());
});
