// By the service's public keys: nobody is asked for each request, and a log-out or a newer login is not seen until the
// token expires. Where that matters, ask: ask.js.
import { createPublicKey, verify } from 'node:crypto';
import { check } from './token.js';

const KEEP_MS = 300_000;
const PAUSE_MS = 10_000;

/** `service`: its address; `issuer` and `audience`: as SCANLOGIN_TOKEN_ISSUER and SCANLOGIN_TOKEN_AUDIENCE. */
export function byKeySet({ service, issuer, audience }) {
  let keys = new Map();
  let fetchedAt = -Infinity;

  async function refresh() {
    fetchedAt = Date.now();
    const answer = await fetch(new URL('/.well-known/jwks.json', service), { signal: AbortSignal.timeout(3_000) });
    if (!answer.ok) throw new Error(`the key set: ${answer.status}`);
    const { keys: listed } = await answer.json();
    keys = new Map(listed.map((jwk) => [jwk.kid, createPublicKey({ key: jwk, format: 'jwk' })]));
  }

  // An old set is good until a new one has come. An unknown key may be a new one; asked for at most once in a while,
  // because anybody can make up a `kid`.
  async function keyOf(kid) {
    const age = Date.now() - fetchedAt;
    if (age > KEEP_MS || (!keys.has(kid) && age > PAUSE_MS)) await refresh().catch(console.error);
    return keys.get(kid);
  }

  return (token) => check(token, { algorithm: 'EdDSA', issuer, audience }, async ({ kid }, signed, signature) => {
    const key = await keyOf(kid);
    return key?.asymmetricKeyType === 'ed25519' && verify(null, signed, key, signature);
  });
}
