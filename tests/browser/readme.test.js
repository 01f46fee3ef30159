// The README's page, as it is printed there, on an origin of its own, against the real service.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { readQr, scanAs, story, verify } from './support/story.js';

const readme = await readFile(new URL('../../README.md', import.meta.url), 'utf8');
const snippet = readme.match(/## Put it into your page\n\n```html\n([\s\S]*?)```/)[1];

function embed(origin) {
  const html = snippet.replaceAll('wss://login.example.com', origin.replace('http', 'ws'));
  assert.notEqual(html, snippet);
  return `<!doctype html><style>#qr { width: 400px; height: 400px }</style>${html}`;
}

const settings = { embed, env: { SCANLOGIN_ALLOWED_ORIGINS: '*' } };

async function shown(page) {
  await page.waitForFunction(() => document.getElementById('qr').naturalWidth > 0);
  return readQr(await page.screenshot());
}

const stored = async (page) =>
  (await page.waitForFunction(() => sessionStorage.getItem('token'))).jsonValue();

story('the page of the README logs a browser in', settings, async ({ open, host, service }) => {
  const page = await open(host.origin);
  await scanAs(open, await shown(page), 'alice');
  assert.equal((await verify(service, await stored(page))).status, 200);
});

const cut = { ...settings, proxied: true, expected: [/WebSocket/] };
story('the page of the README goes on with the same login after its line was cut', cut, async ({ open, host, service, proxy }) => {
  const page = await open(host.origin);
  const url = await shown(page);
  proxy.cut();
  await scanAs(open, url, 'bob');
  assert.equal((await verify(service, await stored(page))).status, 200);
});
