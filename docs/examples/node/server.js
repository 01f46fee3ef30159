// A page that logs in by scanning, and a backend that knows who asks. No packages.
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { byAsking } from './ask.js';
import { byKeySet } from './jwks.js';
import { bySecret } from './secret.js';

const {
  PORT = '8000',
  SERVICE = 'http://127.0.0.1:8080',
  ISSUER = 'scanlogin',
  AUDIENCE = 'shop',
  VERIFY = 'jwks',
  TOKEN_SECRET,
} = process.env;

const verify = {
  jwks: () => byKeySet({ service: SERVICE, issuer: ISSUER, audience: AUDIENCE }),
  ask: () => byAsking({ service: SERVICE }),
  secret: () => bySecret({ secret: TOKEN_SECRET, issuer: ISSUER, audience: AUDIENCE }),
}[VERIFY]();

const page = (await readFile(new URL('../page.html', import.meta.url), 'utf8')).replaceAll('{{service}}', SERVICE);

/** Who asks: the claims of the request's token, or `null`. */
async function userOf(request) {
  const [, token] = request.headers.authorization?.match(/^Bearer ([\w.-]+)$/i) ?? [];
  return token ? verify(token) : null;
}

async function answer(request, response) {
  const { pathname } = new URL(request.url, 'http://any');
  if (pathname === '/me') {
    const claims = await userOf(request);
    response.writeHead(claims ? 200 : 401, { 'Content-Type': 'application/json', 'Cache-Control': 'no-store' });
    return response.end(JSON.stringify(claims ? { user: claims.sub } : { error: 'not logged in' }));
  }
  if (pathname === '/') {
    response.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8' });
    return response.end(page);
  }
  response.writeHead(404).end();
}

createServer((request, response) => {
  answer(request, response).catch((error) => {
    console.error(error);
    response.writeHead(503, { 'Retry-After': '1' }).end();
  });
}).listen(Number(PORT), '127.0.0.1', () => console.log(`http://127.0.0.1:${PORT}/`));
