// What every check of a web token has in common, whatever the key: its form, its header, its claims.

const LEEWAY_SECONDS = 30;

const json = (part) => {
  try {
    return JSON.parse(Buffer.from(part, 'base64url').toString());
  } catch {
    return null;
  }
};

/** The claims of a token that is good, else `null`. `isSigned(header, signed, signature)` says whether its key made it. */
export async function check(token, { algorithm, issuer, audience }, isSigned) {
  const parts = token.split('.');
  if (parts.length !== 3) return null;
  const [header, claims] = [json(parts[0]), json(parts[1])];
  // Which algorithm is ours to say, never the token's; and `typ` tells a web token from any other of the same key.
  if (header?.alg !== algorithm || header.typ !== 'scanlogin+jwt') return null;
  if (!(await isSigned(header, Buffer.from(`${parts[0]}.${parts[1]}`), Buffer.from(parts[2], 'base64url')))) return null;

  const now = Date.now() / 1000;
  const good = claims?.iss === issuer
    && claims.aud === audience
    && claims.platform === 'web'
    && typeof claims.sub === 'string'
    && claims.exp > now - LEEWAY_SECONDS;
  return good ? claims : null;
}
