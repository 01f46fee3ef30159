// What `npm publish` would send: these files and no others, which somebody else can install, import and compile against.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const PACKAGE = fileURLToPath(new URL('../', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'scan-login-'));
after(() => rmSync(folder, { recursive: true }));
const npm = (...all) => JSON.parse(execFileSync('npm', [...all, '--json', '--silent'], { cwd: PACKAGE, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }));

test('the package holds the build, its map, the types, the licence, and nothing of ours besides', () => {
  const [packed] = npm('pack', '--pack-destination', folder);
  assert.deepEqual(packed.files.map(({ path }) => path).sort(), [
    'LICENSE', 'README.md', 'dist/scanlogin.js', 'dist/scanlogin.js.map', 'package.json', 'scanlogin.d.ts',
  ]);

  // As an installation would lay it out.
  const installed = join(folder, 'node_modules', packed.name);
  mkdirSync(installed, { recursive: true });
  execFileSync('tar', ['xzf', join(folder, packed.filename), '-C', installed, '--strip-components=1']);
  assert.equal(readFileSync(join(installed, 'dist/scanlogin.js'), 'utf8'), readFileSync(join(PACKAGE, 'dist/scanlogin.js'), 'utf8'));

  writeFileSync(join(folder, 'main.mjs'), "import { ScanLogin } from 'scanlogin-element'; console.log(new ScanLogin({ endpoint: 'https://login.example.com' }).state);");
  assert.equal(execFileSync(process.execPath, ['main.mjs'], { cwd: folder, encoding: 'utf8' }), 'idle\n');

  cpSync(join(PACKAGE, 'test/usage.ts'), join(folder, 'usage.mts'));
  const options = ['--strict', '--noEmit', '--target', 'es2022', '--module', 'nodenext', '--lib', 'es2022,dom', '--types', ''];
  execFileSync(process.execPath, [join(PACKAGE, 'node_modules/typescript/bin/tsc'), ...options, 'usage.mts'], { cwd: folder, stdio: 'inherit' });
});

test('publishing it would succeed, as far as can be told without doing it', () => {
  const published = npm('publish', '--dry-run');
  const { name, version } = JSON.parse(readFileSync(join(PACKAGE, 'package.json'), 'utf8'));
  const { id } = published.id ? published : published[name];
  assert.equal(id, `${name}@${version}`);
});
