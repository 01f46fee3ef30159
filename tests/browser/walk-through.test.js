// docs/quick-start.md, done as it is printed: what is typed there is typed here, on ports that are free.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { blocksUnder } from './support/markdown.js';
import { freePort, listening } from './support/port.js';
import { BINARY } from './support/service.js';
import { runAndCompare } from './support/shell.js';
import { keyUrl, view } from './support/embed.js';
import { people } from './support/people.js';
import { scanAs } from './support/story.js';

const PAGE = 'docs/quick-start.md';
const [[start], [html, serve], [asApp], [ask]] = await Promise.all(
  ['1. Start the service', '2. Write a page', '4. The same as an app does it', '5. What your backend does with the token'].map((heading) => blocksUnder(PAGE, heading)),
);
const [, ownPage] = await blocksUnder('README.md', 'A page of your own in five minutes');
const [port, adminPort, pagePort] = [await freePort(), await freePort(), await freePort()];
const folder = mkdtempSync(join(tmpdir(), 'walk-through-'));
after(() => rmSync(folder, { recursive: true }));

const PORTS = [['8080', port], ['8000', pagePort]];
const here = (text) => PORTS.reduce((whole, [printed, free]) => whole.replaceAll(`:${printed}`, `:${free}`), text);

/** Types a line that goes on until it is ended. */
async function type(text, cwd, ...ports) {
  const child = spawn('bash', ['-c', `exec ${text}`], { cwd, stdio: 'ignore', env: { ...process.env, SCANLOGIN_ADMIN_LISTEN: `127.0.0.1:${adminPort}`, SCANLOGIN_LISTEN: `127.0.0.1:${port}` } });
  const exited = once(child, 'exit');
  for (const one of ports) await listening(one, exited, text);
  return async () => {
    child.kill('SIGKILL');
    await exited;
  };
}

test('the README’s page is the one that is walked through', () => {
  assert.equal(ownPage.lang, 'html');
  assert.equal(ownPage.text, html.text);
});

test('from a start without settings to a login on a page of one’s own', { timeout: 60_000 }, async () => {
  assert.ok(start.text.trim().endsWith(' cargo run'));
  // What `cargo run` does after the build; the variable stands before it.
  const [setting] = start.text.split(' cargo run');
  const stopService = await type(`env ${here(setting)} ${BINARY}`, folder, port);
  writeFileSync(join(folder, 'page.html'), here(html.text));
  const stopServer = await type(serve.text.trim().replace('8000', pagePort), folder, pagePort);
  const { open, close } = people([`http://127.0.0.1:${port}`, `http://localhost:${pagePort}`]);
  try {
    const address = `http://localhost:${pagePort}/page.html`;
    const page = await open(address);
    await keyUrl(page);
    // By the link below the code, on a phone.
    await scanAs(open, await page.locator('#phone').getAttribute('href'), 'bob');
    await page.getByText('Hello, bob').waitFor();

    await page.reload();
    const KEY = await keyUrl(page);
    const [answer] = await runAndCompare(asApp, { KEY, SCANLOGIN_LISTEN: `127.0.0.1:${port}` }, [['127.0.0.1:8080', `127.0.0.1:${port}`], ['cargo run -q --', BINARY]]);
    assert.ok(answer.claim.length > 20);
    await page.getByText('Hello, alice').waitFor();
    await view(page, 'logged-in');

    const TOKEN = await page.evaluate(() => sessionStorage.getItem('token'));
    const [verified] = await runAndCompare(ask, { TOKEN }, [['127.0.0.1:8080', `127.0.0.1:${port}`]]);
    assert.equal(verified.user, 'alice');
  } finally {
    await close();
    await stopServer();
    await stopService();
  }
});
