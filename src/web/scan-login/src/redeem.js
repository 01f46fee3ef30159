// Where the service delivers a ticket: it is exchanged for a cookie that scripts never see.

const AGAIN_MS = 1_000;
const AGAIN_CAP_MS = 8_000;

/**
 * What the service answered, or `null` where the ticket is no good or its time is over. The exchange is the
 * acknowledgement, so a request is never given up for its answer: a ticket whose answer was lost is used up, and the
 * browser then has the cookie or has not. What never reached the service is sent again.
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
