// What the service knows of a login, asked without any page: for stories about pages that stand still.
import { appToken, scanWithoutPage } from './screens.js';

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const post = async (url, body) => {
  const headers = { 'Content-Type': 'application/json' };
  return (await fetch(url, { method: 'POST', headers, body: JSON.stringify(body) })).json();
};

/** A web login of this user in a browser that has no page: its token, acknowledged. */
export async function logInWithoutPage(service, user) {
  const { frames: [{ key, resume }] } = await post(`${service.origin}/stream/poll`, {});
  await scanWithoutPage(service, key, user);
  const { frames: [{ token }] } = await post(`${service.origin}/stream/poll`, { resume });
  await post(`${service.origin}/stream/message`, { resume, type: 'received' });
  return token;
}

/** What the phone reads now, or with `wait` within that many seconds. */
export async function receipt(service, user, claim, wait = 0) {
  const headers = { Authorization: `Bearer ${await appToken(service, user)}`, 'Scanlogin-Claim': claim };
  return (await (await fetch(`${service.origin}/scan/outcome?wait=${wait}`, { headers })).json()).state;
}

/** What the phone reads in the end. */
export async function lastReceipt(service, user, claim) {
  for (;;) {
    const state = await receipt(service, user, claim, 10);
    if (!['waiting', 'scanned', 'approved'].includes(state)) return state;
  }
}

export async function waitingSockets(service) {
  const metrics = await (await fetch(`${service.admin}/metrics`)).text();
  return Number(metrics.match(/^scanlogin_waiting_sockets (\d+)$/m)[1]);
}

/** Until the service holds no line any more. */
export async function untilNobodyWaits(service) {
  while (await waitingSockets(service) > 0) await pause(50);
}
