// By the secret that the service signs with (SCANLOGIN_TOKEN_SECRET, HS256): whoever holds it can make tokens too, and a
// log-out is not seen. Keys (jwks.js) are better as soon as there is a second backend.
import { createHmac, timingSafeEqual } from 'node:crypto';
import { check } from './token.js';

export function bySecret({ secret, issuer, audience }) {
  return (token) => check(token, { algorithm: 'HS256', issuer, audience }, (_, signed, signature) => {
    const expected = createHmac('sha256', secret).update(signed).digest();
    return signature.length === expected.length && timingSafeEqual(signature, expected);
  });
}
