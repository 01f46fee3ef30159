import assert from 'node:assert/strict';
import { PHONE, part, readQrOf, scanAs, state, story, tokenOf, verify } from './support/story.js';

const CONFIRM = { SCANLOGIN_CONFIRM: 'required' };

story('with confirmation the page shows who scanned, and is logged in once the phone approves', { env: CONFIRM }, async ({ open, origin, service }) => {
  const page = await open('/');
  const phone = await scanAs(open, await readQrOf(page), 'alice');

  await state(phone, 'confirm');
  const facts = await phone.getByTestId('facts').textContent();
  assert.match(facts, /^Asked(just now|\d+ seconds ago)Address/, 'what the service has seen comes first');
  assert.doesNotMatch(facts, /Page|Browser/);
  const said = phone.getByTestId('said');
  assert.equal(await said.evaluate((list) => list.previousElementSibling.textContent), 'What it says of itself. Any program can say the same.');
  assert.ok((await said.textContent()).startsWith(`Page${origin}`));
  assert.doesNotMatch(await phone.getByTestId('flags').textContent(), /No web page/);
  // In words, and what speaks for it too.
  assert.match(await phone.getByTestId('flags').textContent(), /same network as this phone/);
  assert.ok(await phone.getByTestId('user-agent').isHidden(), 'nobody compares that with anything');
  assert.match(await said.textContent(), /Chrom/);
  await state(page, 'scanned');
  assert.match(await part(page, 'name').textContent(), /Alice/);
  assert.equal(await tokenOf(page), null);

  await phone.getByTestId('approve').click();
  await state(page, 'logged-in');
  await state(phone, 'delivered');
  assert.equal((await verify(service, await tokenOf(page))).status, 200);
});

story('who asks without a page is marked, and nothing is said of a page', { env: CONFIRM }, async ({ open, service }) => {
  // A program that sends no Origin, as any may; one that sends a listed one looks like a page.
  const waiting = await fetch(`${service.origin}/stream`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: '{}' });
  const reader = waiting.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  while (!text.includes('\n\n')) text += (await reader.read()).value;
  const { url } = JSON.parse(text.match(/^data: (.*)$/m)[1]);
  const phone = await scanAs(open, url, 'alice');
  await state(phone, 'confirm');
  assert.match(await phone.getByTestId('flags').locator('li').first().textContent(), /No web page asks/);
  assert.match(await phone.getByTestId('said').textContent(), /^Pagenone/);
  await phone.getByTestId('decline').click();
  await state(phone, 'denied');
  await reader.cancel();
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

const MATCH = { ...CONFIRM, SCANLOGIN_MATCH: 'always' };
const digitsOf = async (page) => (await part(page, 'digits').textContent()).trim();
const otherThan = (digits) => String((Number(digits) + 1) % 100).padStart(2, '0');
const answerWith = async (phone, digits) => {
  await phone.getByTestId('digits').fill(digits);
  await phone.getByTestId('approve').click();
};
const REFUSED = { expected: [/Failed to load resource.* 403/] };

story('with number matching the phone needs the digits that the page shows', { env: MATCH, ...REFUSED }, async ({ open, service }) => {
  const page = await open('/');
  const phone = await scanAs(open, await readQrOf(page), 'alice');
  await state(phone, 'confirm');
  await state(page, 'scanned');
  const digits = await digitsOf(page);
  assert.match(digits, /^[0-9]{2}$/);

  // Nothing typed is no try.
  await phone.getByTestId('approve').click();
  await phone.getByText('Type the two digits').waitFor();
  await answerWith(phone, otherThan(digits));
  await phone.getByText('Tries left: 2').waitFor();
  // Said beside the field, which waits for the next try.
  assert.match(await phone.getByTestId('digits-problem').textContent(), /Tries left: 2/);
  assert.ok(await phone.getByTestId('digits').evaluate((input) => input === document.activeElement && input.value === ''));
  assert.equal(await digitsOf(page), digits, 'the same question still stands');
  await answerWith(phone, digits);
  await state(page, 'logged-in');
  await state(phone, 'delivered');
  assert.equal((await verify(service, await tokenOf(page))).status, 200);
});

story('a third wrong number denies the login on both screens', { env: MATCH, ...REFUSED }, async ({ open }) => {
  const page = await open('/');
  const phone = await scanAs(open, await readQrOf(page), 'bob');
  await state(phone, 'confirm');
  await state(page, 'scanned');
  const wrong = otherThan(await digitsOf(page));
  for (const left of [2, 1]) {
    await answerWith(phone, wrong);
    await phone.getByText(`Tries left: ${left}`).waitFor();
  }
  await answerWith(phone, wrong);
  await state(phone, 'denied');
  await state(page, 'denied');
  assert.equal(await tokenOf(page), null);
});

story('a reload shows the same digits, and a decline needs none', { env: MATCH }, async ({ open }) => {
  const page = await open('/');
  const phone = await scanAs(open, await readQrOf(page), 'alice');
  await state(phone, 'confirm');
  await state(page, 'scanned');
  const digits = await digitsOf(page);
  await page.reload();
  await state(page, 'scanned');
  assert.equal(await digitsOf(page), digits);
  await phone.getByTestId('decline').click();
  await state(phone, 'denied');
  await state(page, 'denied');
});

story('under "risky" a page on the phone’s own network shows no number, a page elsewhere does', {
  env: { ...CONFIRM, SCANLOGIN_MATCH: 'risky', SCANLOGIN_TRUSTED_PROXIES: '127.0.0.0/8' },
}, async ({ open }) => {
  const near = await open('/');
  const phone = await scanAs(open, await readQrOf(near), 'alice');
  await state(phone, 'confirm');
  await state(near, 'scanned');
  assert.ok(await part(near, 'match').isHidden());
  assert.ok(await phone.getByTestId('digits').isHidden());
  await phone.getByTestId('approve').click();
  await state(near, 'logged-in');

  // The phone is elsewhere this time.
  const page = await open('/');
  const far = await open(await readQrOf(page), { ...PHONE, extraHTTPHeaders: { 'X-Forwarded-For': '203.0.113.9' } });
  await far.getByTestId('user-mei').click();
  await far.getByTestId('submit').click();
  await state(far, 'confirm');
  await state(page, 'scanned');
  assert.match(await far.getByTestId('flags').textContent(), /another network/);
  await answerWith(far, await digitsOf(page));
  await state(page, 'logged-in');
});
