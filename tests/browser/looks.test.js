// Every state on both screens, in the light and in the dark: measured here, and kept as pictures for a person to look at.
import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { assertAccessible } from './support/axe.js';
import { DESKTOP, PHONE, readQrOf, scanAs, state, story } from './support/story.js';

const FOLDER = fileURLToPath(new URL('../results/screenshots/', import.meta.url));
await mkdir(FOLDER, { recursive: true });

const LINE_IS_DOWN = [/WebSocket connection to .* failed/, /net::ERR_/, /Failed to load resource/];

async function picture(page, name, screens = { desktop: DESKTOP, phone: PHONE }) {
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    for (const [screen, { viewport }] of Object.entries(screens)) {
      await page.setViewportSize(viewport);
      await page.screenshot({ path: `${FOLDER}${name}-${screen}-${colorScheme}.png`, fullPage: true });
      const where = `${name}, ${screen}, ${colorScheme}`;
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `scrolls sideways: ${where}`);
      assert.deepEqual(await page.evaluate(lowContrasts), [], where);
    }
  }
  await assertAccessible(page, name);
}

/** Runs in the page: the visible texts that miss WCAG's AA against the first opaque background behind them. */
function lowContrasts() {
  const luminance = ([r, g, b]) => [r, g, b]
    .map((value) => value / 255)
    .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
    .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
  const channels = (color) => color.match(/[\d.]+/g).map(Number);
  const background = (element) => {
    const color = channels(getComputedStyle(element).backgroundColor);
    return color[3] === 0 && element.parentElement ? background(element.parentElement) : color;
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility() || element.matches(':disabled')) continue;
    const style = getComputedStyle(element);
    const [light, dark] = [luminance(channels(style.color)), luminance(background(element))].sort((a, b) => b - a);
    const ratio = (light + 0.05) / (dark + 0.05);
    const large = parseFloat(style.fontSize) >= 24;
    if (ratio < (large ? 3 : 4.5)) found.push(`${ratio.toFixed(2)}: ${walker.currentNode.data.trim()}`);
  }
  return found;
}

story('waiting, scanning and being logged in look right', {}, async ({ open }) => {
  const page = await open('/');
  const url = await readQrOf(page);
  await picture(page, 'waiting');
  const phone = await open(url, PHONE);
  await phone.getByTestId('user-alice').click();
  await picture(phone, 'simulator');
  await phone.getByTestId('submit').click();
  await state(page, 'logged-in');
  await phone.locator('main:is([data-state=delivered], [data-state=done])').waitFor();
  await picture(phone, 'simulator-done');
  await picture(page, 'logged-in');
  await page.locator('summary').click();
  await picture(page, 'logged-in-claims');
});

story('an expired code and an unknown key look right', { env: { SCANLOGIN_WAIT_SECONDS: '5' }, expected: [/Failed to load resource.* 404/] }, async ({ open }) => {
  const page = await open('/');
  const url = await readQrOf(page);
  await state(page, 'expired');
  await picture(page, 'expired');
  const phone = await scanAs(open, url, 'bob');
  await state(phone, 'error');
  await picture(phone, 'simulator-unknown-key');
});

story('cancelled and out of reach look right', { proxied: true, expected: LINE_IS_DOWN }, async ({ open, proxy }) => {
  const page = await open('/');
  await state(page, 'waiting');
  await page.getByTestId('cancel').click();
  await picture(page, 'cancelled');
  proxy.goDown();
  await page.getByRole('button', { name: 'Show a new code' }).click();
  await state(page, 'unavailable');
  await picture(page, 'unavailable');
});

story('a lost line looks right', { proxied: true, expected: LINE_IS_DOWN }, async ({ open, proxy }) => {
  const page = await open('/');
  await readQrOf(page);
  proxy.goDown();
  await state(page, 'reconnecting');
  await picture(page, 'reconnecting');
});

story('the question on the phone and a decline look right', { env: { SCANLOGIN_CONFIRM: 'required' } }, async ({ open }) => {
  const page = await open('/');
  const phone = await scanAs(open, await readQrOf(page), 'alice');
  await state(phone, 'confirm');
  await state(page, 'scanned');
  await picture(phone, 'simulator-confirm');
  await picture(page, 'scanned');
  await phone.getByTestId('decline').click();
  await state(phone, 'denied');
  await state(page, 'denied');
  await picture(phone, 'simulator-denied');
  await picture(page, 'denied');
});
