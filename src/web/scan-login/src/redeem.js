// Where the service delivers a ticket: it is exchanged for a cookie that scripts never see.

const AGAIN_MS = 1_000;
const AGAIN_CAP_MS = 8_000;

/**
 * What the service answered, or `null` where the ticket is no good or its time is over. What was not answered is sent
 * again: the browser that the ticket is for gets the same answer for a while. Where the service binds tickets to no
 * browser (`SCANLOGIN_TICKET_BINDING=off`), a lost answer has used the ticket up.
 */
export async function redeem(base, ticket, ms, dropped, pause) {
  const until = Date.now() + ms;
  for (let tries = 0; !dropped() && Date.now() < until; tries += 1) {
    const response = await fetch(new URL('redeem', base), {
      method: 'POST',
      credentials: 'include',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ ticket }),
    }).catch(() => null);
    if (response?.ok) return response.json().catch(() => ({}));
    if (response && response.status < 500 && response.status !== 429) return null;
    await pause(Math.random() * Math.min(AGAIN_CAP_MS, AGAIN_MS * 2 ** tries));
  }
  return null;
}
