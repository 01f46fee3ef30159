// Tokens as an attacker would make them, and as the service does: with its key, for the examples that check them.
import { createHmac, createPrivateKey, createPublicKey, generateKeyPairSync, createHash, sign } from 'node:crypto';

const base64url = (value) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');

/** An Ed25519 key with its name (RFC 7638). */
export function keyOf(pem) {
  const { crv, kty, x } = createPublicKey(pem).export({ format: 'jwk' });
  const kid = createHash('sha256').update(JSON.stringify({ crv, kty, x })).digest('base64url');
  return { pem, kid, publicKey: Buffer.from(x, 'base64url') };
}

export const newKey = () => keyOf(generateKeyPairSync('ed25519').privateKey.export({ format: 'pem', type: 'pkcs8' }));

const signed = (header, claims, signature) => {
  const text = `${base64url(header)}.${base64url(claims)}`;
  return `${text}.${signature(Buffer.from(text)).toString('base64url')}`;
};
export const withKey = ({ pem }) => (text) => sign(null, text, createPrivateKey(pem));
export const withSecret = (secret) => (text) => createHmac('sha256', secret).update(text).digest();

/** By name: a good token's twin, and every way in which it could be none. `own`: how the service signs. */
export function tokens({ own, header, audience, others = {} }) {
  const now = Math.floor(Date.now() / 1000);
  const claims = { sub: 'mallory', platform: 'web', jti: 'any', iss: 'scanlogin', aud: audience, iat: now, exp: now + 3600, amr: ['qr'] };
  const typical = { typ: 'scanlogin+jwt', ...header };
  const make = (headerChange = {}, claimsChange = {}, signature = own) =>
    signed({ ...typical, ...headerChange }, { ...claims, ...claimsChange }, signature);
  const good = make();
  const bad = {
    'no token': '',
    'three dots': '...',
    'no JSON': 'YQ.YQ.YQ',
    'an array for claims': signed(typical, [], own),
    'null for claims': signed(typical, null, own),
    'no signature': good.slice(0, good.lastIndexOf('.') + 1),
    'another signature': make({}, {}, () => Buffer.alloc(64, 7)),
    'other claims under this signature': good.replace(/\.(.*)\./, `.${base64url({ ...claims, sub: 'alice' })}.`),
    'alg none': make({ alg: 'none' }, {}, () => Buffer.alloc(0)),
    'an unknown key': make({ kid: 'unknown' }, {}, withKey(newKey())),
    'another unknown key': make({ kid: 'new' }, {}, withKey(newKey())),
    'a third one': make({ kid: '__proto__' }, {}, withKey(newKey())),
    'an app token (typ JWT)': make({ typ: 'JWT' }),
    'no typ': make({ typ: undefined }),
    'another issuer': make({}, { iss: 'other' }),
    'another audience': make({}, { aud: 'other' }),
    'no audience': make({}, { aud: undefined }),
    'another platform': make({}, { platform: 'app' }),
    'expired a minute ago': make({}, { exp: now - 60 }),
    'no end': make({}, { exp: undefined }),
    'a text for its end': make({}, { exp: 'tomorrow' }),
    'nobody': make({}, { sub: undefined }),
    ...Object.fromEntries(Object.entries(others).map(([name, [change, signature]]) => [name, make(change, {}, signature)])),
  };
  return { good, bad };
}
