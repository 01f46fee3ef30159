// What people do and see at their screens.
import jsQR from 'jsqr';
import { PNG } from 'pngjs';
import { PHONE } from './people.js';

export const state = (page, name) => page.locator(`main[data-state="${name}"]`).waitFor();

/** Like a person's camera: reads what is on the screen, not what is in the document. */
export function readQr(screenshot) {
  const { data, width, height } = PNG.sync.read(screenshot);
  return jsQR(new Uint8ClampedArray(data), width, height)?.data;
}

export async function readQrOf(page) {
  await state(page, 'waiting');
  await page.locator('scan-login [part=qr] path').waitFor();
  return readQr(await page.screenshot());
}

/** What a camera reads from a page of any making: one with the element, or with an image `#qr`. */
export async function readAnyQrOf(page) {
  await page.locator('#qr:not([src=""]), scan-login [part=qr] path').first().waitFor();
  await page.waitForFunction(() => document.getElementById('qr')?.naturalWidth !== 0);
  return readQr(await page.screenshot());
}

/** Opens what the QR held on a phone, chooses a user, and taps. */
export async function scanAs(open, url, user) {
  const phone = await open(url, PHONE);
  await phone.getByTestId(`user-${user}`).click();
  await phone.getByTestId('submit').click();
  return phone;
}

const post = async (url, body, headers) => (await fetch(url, { method: 'POST', body: new URLSearchParams(body), headers })).json();

/** What an app of the demo's shows when it calls. */
export const appToken = async (service, user) => (await post(`${service.origin}/demo/app-token`, { user })).token;

/** A scan without a screen, as an app would do it, and its confirmation where it is wanted: what the service answered last. */
export async function scanWithoutPage(service, url, user, { confirm = false } = {}) {
  const headers = { Authorization: `Bearer ${await appToken(service, user)}` };
  const scanned = await post(`${service.origin}/scan`, { key: url }, headers);
  return confirm ? post(`${service.origin}/scan/confirm`, { claim: scanned.claim }, headers) : scanned;
}

/** What `<scan-login>` shows in one of its parts. */
export const part = (page, name) => page.locator(`scan-login [part~=${name}]`);

export const tokenOf = (page) => page.evaluate(() => sessionStorage.getItem('scanlogin.token'));

export const verify = (service, token) => fetch(`${service.origin}/verify`, { headers: { Authorization: `Bearer ${token}` } });
