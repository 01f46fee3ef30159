// One browser, and the people who sit before it.
import { chromium } from 'playwright-core';

const PATIENCE_MS = 15_000;
export const DESKTOP = { viewport: { width: 1280, height: 860 } };
export const PHONE = { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 };

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync',
  ],
});
export const closeBrowser = () => browser.close();

/** People at their screens, whose pages may speak to these origins. `open` returns a page; `bad` is what it should not have done. */
export function people(known, expected = []) {
  const origins = [...known];
  const contexts = [];
  const bad = [];
  return {
    bad,
    know: (origin) => origins.push(origin),
    close: () => Promise.all(contexts.map((context) => context.close())),
    // `prepare` sees the page before it loads anything.
    async open(url, options = DESKTOP, prepare = async () => {}) {
      const context = await browser.newContext({ ...options, serviceWorkers: 'block' });
      contexts.push(context);
      context.setDefaultTimeout(PATIENCE_MS);
      watch(context, origins, expected, bad);
      const page = await context.newPage();
      await prepare(page);
      await page.goto(url);
      return page;
    },
  };
}

function watch(context, origins, expected, bad) {
  const ours = origins.map((origin) => new URL(origin).host);
  const foreign = (url) => !url.startsWith('data:') && !ours.includes(new URL(url).host);
  context.on('request', (request) => foreign(request.url()) && bad.push(`request to ${request.url()}`));
  context.on('page', (page) => {
    page.on('websocket', (socket) => foreign(socket.url()) && bad.push(`socket to ${socket.url()}`));
    page.on('pageerror', (error) => bad.push(`error in the page: ${error.stack}`));
    // Violations of the content security policy arrive here too.
    page.on('console', (message) => {
      const text = `${message.text()} ${message.location().url}`;
      if (message.type() === 'error' && !expected.some((pattern) => pattern.test(text))) bad.push(`console: ${text}`);
    });
  });
}
