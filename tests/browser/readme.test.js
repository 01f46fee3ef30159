// The pages of the README and of docs/embedding.md, as they are printed there, on an origin of their own, against the
// real service.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { readAnyQrOf, scanAs, story, verify } from './support/story.js';

const read = (path) => readFile(new URL(`../../${path}`, import.meta.url), 'utf8');
const [readme, embedding] = [await read('README.md'), await read('docs/embedding.md')];

/** The first page printed under a heading. */
function printed(text, heading) {
  const section = text.slice(text.indexOf(`\n${heading}\n`));
  return section.match(/```html\n([\s\S]*?)```/)[1];
}

const PAGES = {
  'the page of one’s own in the README': printed(readme, '## A page of your own in five minutes'),
  'the page of the README': printed(readme, '## Put it into your page'),
  'the page that embeds': printed(`\n${embedding}`, '# Embedding'),
  'the page with a view of its own': printed(embedding, '## The client without the element'),
  'the page with a client of its own': printed(embedding, '## A client written by hand'),
};

const embed = (snippet) => (origin) => {
  const html = snippet
    .replaceAll('https://login.example.com', origin)
    .replaceAll('wss://login.example.com', origin.replace('http', 'ws'))
    .replaceAll('http://127.0.0.1:8080', origin);
  assert.notEqual(html, snippet);
  return `<!doctype html><style>#qr { width: 400px; height: 400px }</style>${html}`;
};

const stored = async (page) =>
  (await page.waitForFunction(() => sessionStorage.getItem('token'))).jsonValue();

for (const [name, snippet] of Object.entries(PAGES)) {
  const settings = { embed: embed(snippet), env: { SCANLOGIN_ALLOWED_ORIGINS: '*' } };

  story(`${name} logs a browser in`, settings, async ({ open, host, service }) => {
    const page = await open(host.origin);
    await scanAs(open, await readAnyQrOf(page), 'alice');
    assert.equal((await verify(service, await stored(page))).status, 200);
  });

  const cut = { ...settings, proxied: true, expected: [/WebSocket/] };
  story(`${name} goes on with the same login after its line was cut`, cut, async ({ open, host, service, proxy }) => {
    const page = await open(host.origin);
    const url = await readAnyQrOf(page);
    proxy.cut();
    await scanAs(open, url, 'bob');
    assert.equal((await verify(service, await stored(page))).status, 200);
  });
}
