// The machine slept, or its clock was set: pages that were open before go on as if nothing had happened.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { readQrOf, scanAs, state, story } from './support/story.js';

const machine = { x64: 'x86_64', arm64: 'aarch64' }[process.arch];
const LIBRARY = `/usr/lib/${machine}-linux-gnu/faketime/libfaketimeMT.so.1`;
const folder = await mkdtemp(join(tmpdir(), 'scanlogin-clock-'));
after(() => rm(folder, { recursive: true }));

/** So many seconds after the true time. In one step, since the service reads it with each look at its clock. */
async function setClock(seconds) {
  await writeFile(join(folder, 'new'), `+${seconds}\n`);
  await rename(join(folder, 'new'), join(folder, 'time'));
}

const env = {
  LD_PRELOAD: LIBRARY,
  FAKETIME_TIMESTAMP_FILE: join(folder, 'time'),
  FAKETIME_NO_CACHE: '1',
  FAKETIME_DONT_FAKE_MONOTONIC: '1',
};
assert.ok(existsSync(LIBRARY), `no ${LIBRARY}: tests/run installs it`);

await setClock(0);
story('a simulator that was left open for three hours logs in at the first tap', { env }, async ({ open }) => {
  const page = await open('/');
  const phone = await scanAs(open, await readQrOf(page), 'alice');
  await state(page, 'logged-in');
  await page.getByTestId('log-out').click();
  await state(page, 'waiting');

  await setClock(3 * 3600);
  await phone.getByRole('button', { name: 'Scan another code' }).click();
  await phone.getByTestId('key').fill(await readQrOf(page));
  await phone.getByTestId('submit').click();
  await state(page, 'logged-in');
});
