// A Chromium with its own defaults, as a person starts it. The one that Playwright launches has no back-forward cache, and
// its pages believe that they are always in sight, so that none can be frozen.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';

const PATIENCE_MS = 15_000;

export async function startChromium() {
  const profile = await mkdtemp(join(tmpdir(), 'chromium-'));
  const child = spawn(process.env.CHROMIUM ?? '/usr/bin/chromium', [
    '--headless=new', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--remote-debugging-port=0', `--user-data-dir=${profile}`, 'about:blank',
  ], { stdio: ['ignore', 'ignore', 'pipe'] });
  const exited = once(child, 'exit');
  const browser = await chromium.connectOverCDP(await debuggerOf(child), { noDefaults: true });
  const [context] = browser.contexts();
  context.setDefaultTimeout(PATIENCE_MS);
  return {
    /** `prepare` sees the page before it loads anything. */
    async open(url, prepare = async () => {}) {
      const page = await context.newPage();
      await prepare(page);
      await page.goto(url);
      return page;
    },
    /** Shows another tab instead of this one. Returns what shows this one again. */
    async cover(page) {
      const other = await context.newPage();
      await other.bringToFront();
      return async () => {
        await page.bringToFront();
        await other.close();
      };
    },
    /** Takes this page's network away, so far as the browser says. Returns what brings it back. */
    async unplug(page) {
      const session = await context.newCDPSession(page);
      const set = (offline) => session.send('Network.emulateNetworkConditions', { offline, latency: 0, downloadThroughput: -1, uploadThroughput: -1 });
      await set(true);
      return () => set(false);
    },
    /** Freezes the tab, as Chromium does with one that nobody has looked at for a while. Returns what thaws it. */
    async freeze(page) {
      const uncover = await this.cover(page);
      const session = await context.newCDPSession(page);
      await session.send('Page.setWebLifecycleState', { state: 'frozen' });
      return async () => {
        await session.send('Page.setWebLifecycleState', { state: 'active' });
        await uncover();
      };
    },
    async stop() {
      await browser.close();
      child.kill('SIGKILL');
      await exited;
      await rm(profile, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

function debuggerOf(child) {
  return new Promise((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`Chromium ended with ${code}`)));
    child.once('error', reject);
    createInterface({ input: child.stderr }).on('line', (line) => {
      const [url] = line.match(/ws:\/\/\S+/) ?? [];
      if (url) resolve(url);
    });
  });
}

/** Keeps in the page what the page lifecycle told it, such as `freeze` and `pageshow true` (of a page out of the back-forward cache). */
export const watchLifecycle = (page) => page.addInitScript(() => {
  globalThis.lifecycle = [];
  for (const type of ['pageshow', 'pagehide']) addEventListener(type, ({ persisted }) => globalThis.lifecycle.push(`${type} ${persisted}`));
  for (const type of ['freeze', 'resume']) document.addEventListener(type, () => globalThis.lifecycle.push(type));
  for (const type of ['offline', 'online']) addEventListener(type, () => globalThis.lifecycle.push(type));
  document.addEventListener('visibilitychange', () => globalThis.lifecycle.push(document.visibilityState));
});
