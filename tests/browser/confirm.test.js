import assert from 'node:assert/strict';
import { part, readQrOf, scanAs, state, story, tokenOf, verify } from './support/story.js';

const CONFIRM = { SCANLOGIN_CONFIRM: 'required' };

story('with confirmation the page shows who scanned, and is logged in once the phone approves', { env: CONFIRM }, async ({ open, origin, service }) => {
  const page = await open('/');
  const phone = await scanAs(open, await readQrOf(page), 'alice');

  await state(phone, 'confirm');
  const facts = await phone.getByTestId('facts').textContent();
  assert.ok(facts.includes(origin), facts);
  assert.match(facts, /Chrom/);
  await state(page, 'scanned');
  assert.match(await part(page, 'name').textContent(), /Alice/);
  assert.equal(await tokenOf(page), null);

  await phone.getByTestId('approve').click();
  await state(page, 'logged-in');
  await state(phone, 'delivered');
  assert.equal((await verify(service, await tokenOf(page))).status, 200);
});

story('a decline on the phone is shown on the page, with a way to go on', { env: CONFIRM }, async ({ open }) => {
  const page = await open('/');
  const first = await readQrOf(page);
  const phone = await scanAs(open, first, 'bob');
  await phone.getByTestId('decline').click();
  await state(phone, 'denied');
  await state(page, 'denied');
  assert.equal(await tokenOf(page), null);
  await page.getByRole('button', { name: 'Show a new code' }).click();
  assert.notEqual(await readQrOf(page), first);
});

story('approve and decline are equally prominent', { env: CONFIRM }, async ({ open }) => {
  const page = await open('/');
  const phone = await scanAs(open, await readQrOf(page), 'alice');
  await state(phone, 'confirm');
  const [approve, decline] = await Promise.all(['approve', 'decline'].map((id) => phone.getByTestId(id).evaluate((button) => {
    const { backgroundColor, borderColor, color, fontSize, fontWeight } = getComputedStyle(button);
    const { width, height } = button.getBoundingClientRect();
    return { backgroundColor, borderColor, color, fontSize, fontWeight, width: Math.round(width), height: Math.round(height) };
  })));
  assert.deepEqual(approve, decline);
});

story('a page that cancels after the scan leaves nothing to approve', { env: CONFIRM, expected: [/Failed to load resource.* 404/] }, async ({ open }) => {
  const page = await open('/');
  const phone = await scanAs(open, await readQrOf(page), 'alice');
  await state(phone, 'confirm');
  await state(page, 'scanned');
  await page.getByRole('button', { name: 'Cancel' }).click();
  await state(page, 'cancelled');
  await phone.getByTestId('approve').click();
  await phone.locator('main[data-state=error][data-code="-1"]').waitFor();
  assert.equal(await tokenOf(page), null);
});

story('a reload while the phone decides comes back to the same question', { env: CONFIRM }, async ({ open }) => {
  const page = await open('/');
  const phone = await scanAs(open, await readQrOf(page), 'alice');
  await state(phone, 'confirm');
  await state(page, 'scanned');
  await page.reload();
  await state(page, 'scanned');
  await phone.getByTestId('approve').click();
  await state(page, 'logged-in');
});
