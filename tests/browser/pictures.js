// Makes the pictures of the documentation from the real service: `node tests/browser/pictures.js`. Look at them afterwards.
import { mkdir, writeFile } from 'node:fs/promises';
import { keyUrl, pageWith, view } from './support/embed.js';
import { startHost } from './support/host.js';
import { ROOT, blocksUnder } from './support/markdown.js';
import { DESKTOP, PHONE, closeBrowser, people } from './support/people.js';
import { withPalette } from './support/png.js';
import { startProxy } from './support/proxy.js';
import { startService } from './support/service.js';
import { readQrOf, scanAs, scanWithoutPage, state } from './support/screens.js';

const FOLDER = `${ROOT}docs/pictures/`;
const STYLE = '<style>body { font-family: system-ui; margin: 1.5rem } h1 { font-size: 1.25rem; margin: 0 0 1rem } scan-login { margin-inline: auto }</style>';
const SCREENS = { desktop: { width: 600, height: 640, shown: 232 }, phone: { width: 390, height: 690, shown: 160 } };
const stops = [];

/** A service with these settings, a line to it that can be cut, and somebody's page that embeds its element. */
async function scene({ env = {}, attributes = '', prepare } = {}) {
  const service = await startService({ SCANLOGIN_ALLOWED_ORIGINS: '*', ...env });
  const proxy = await startProxy(service.address);
  const host = await startHost(pageWith({ attributes, head: STYLE })(proxy.origin));
  const visitors = people([service.origin, proxy.origin, host.origin], [/./]);
  stops.push(async () => {
    await visitors.close();
    proxy.stop();
    await host.stop();
    await service.stop();
  });
  const page = await visitors.open(host.origin, DESKTOP, prepare);
  return { service, proxy, page, open: visitors.open };
}

const CONFIRM = { SCANLOGIN_CONFIRM: 'required' };
const MANUAL = { attributes: 'manual' };

async function scanned(env) {
  const made = await scene({ env });
  const phone = await scanAs(made.open, await keyUrl(made.page), 'alice');
  await view(made.page, 'scanned');
  return { ...made, phone };
}

const lastSocket = (page) => page.addInitScript(() => {
  const Real = WebSocket;
  globalThis.WebSocket = class extends Real {
    constructor(...all) {
      super(...all);
      globalThis.lastSocket = this;
    }
  };
});

// In the order in which somebody may meet them. Each leads its page into the state.
const STATES = {
  idle: async () => (await scene(MANUAL)).page,
  async connecting() {
    const { page, proxy } = await scene(MANUAL);
    await view(page, 'idle');
    proxy.goMute();
    await page.getByRole('button').click();
    return page;
  },
  waiting: async () => (await scene()).page,
  scanned: async () => (await scanned(CONFIRM)).page,
  'scanned, with digits': async () => (await scanned({ ...CONFIRM, SCANLOGIN_MATCH: 'always' })).page,
  async 'logged-in'() {
    const { page, phone } = await scanned(CONFIRM);
    await phone.getByTestId('approve').click();
    return page;
  },
  async denied() {
    const { page, phone } = await scanned(CONFIRM);
    await phone.getByTestId('decline').click();
    return page;
  },
  expired: async () => (await scene({ env: { SCANLOGIN_WAIT_SECONDS: '1' } })).page,
  async cancelled() {
    const { page } = await scanned(CONFIRM);
    await page.getByRole('button', { name: 'Cancel' }).click();
    return page;
  },
  async reconnecting() {
    const { page, proxy } = await scene();
    await view(page, 'waiting');
    proxy.goDown();
    return page;
  },
  async unavailable() {
    const { page, proxy } = await scene(MANUAL);
    await view(page, 'idle');
    proxy.goDown();
    await page.getByRole('button').click();
    return page;
  },
  async offline() {
    const { page, proxy } = await scene();
    await view(page, 'waiting');
    await page.context().setOffline(true);
    proxy.goDown();
    return page;
  },
  async 'taken-over'() {
    const { page, open } = await scene();
    await view(page, 'waiting');
    const login = await page.evaluate(() => sessionStorage.getItem('scanlogin.login'));
    await open(page.url(), DESKTOP, (second) => second.addInitScript((saved) => sessionStorage.setItem('scanlogin.login', saved), login));
    return page;
  },
  async failed() {
    const { page } = await scene({ prepare: lastSocket });
    await view(page, 'waiting');
    await page.evaluate(() => globalThis.lastSocket.send('no JSON'));
    return page;
  },
};

const dataUrl = (png) => `data:image/png;base64,${png.toString('base64')}`;

async function screenshot(page, screen, colorScheme) {
  await page.setViewportSize(screen);
  await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
  return page.screenshot();
}

/** Pages as they are and small, side by side with their names. */
async function sheet(name, cells, columns, width) {
  const { open, close } = people([], [/./]);
  const page = await open('about:blank', { viewport: { width: columns * (width + 16) + 16, height: 100 } });
  await page.setContent(`<style>
    body { margin: 0; padding: 8px; display: grid; grid-template-columns: repeat(${columns}, ${width}px); gap: 12px 16px; justify-content: center;
      background: #fff; color: #333; font: 13px system-ui }
    figure { margin: 0 } img { display: block; width: 100%; border-radius: 6px; outline: 1px solid #ccc } figcaption { padding: 4px 0 }
  </style>${cells.map(({ caption, png }) => `<figure><figcaption>${caption}</figcaption><img src="${dataUrl(png)}"></figure>`).join('')}`);
  await page.waitForFunction(() => [...document.images].every((image) => image.complete));
  await save(name, await page.screenshot({ fullPage: true }));
  await close();
}

async function save(name, png) {
  const small = withPalette(png);
  await writeFile(`${ROOT}docs/${name}`, small);
  console.log(`docs/${name}: ${Math.round(small.length / 1024)} KB`);
}

async function states() {
  const cells = { desktop: [], phone: [] };
  for (const [caption, lead] of Object.entries(STATES)) {
    const page = await lead();
    await view(page, caption.split(',')[0]);
    for (const [name, screen] of Object.entries(SCREENS)) {
      for (const scheme of ['light', 'dark']) cells[name].push({ caption: scheme === 'light' ? caption : '&nbsp;', png: await screenshot(page, screen, scheme) });
    }
    await Promise.all(stops.splice(0).map((stop) => stop()));
  }
  await sheet('pictures/states-desktop.png', cells.desktop, 4, SCREENS.desktop.shown);
  await sheet('pictures/states-phone.png', cells.phone, 8, SCREENS.phone.shown);
}

/** The page of docs/quick-start.md, its phone, and what comes of it. */
async function quickStart() {
  const [{ text }] = await blocksUnder('docs/quick-start.md', '2. Write a page');
  const service = await startService({ SCANLOGIN_ALLOWED_ORIGINS: '*' });
  const host = await startHost(text.replaceAll('http://127.0.0.1:8080', service.origin));
  const visitors = people([service.origin, host.origin], [/./]);
  const page = await visitors.open(host.origin, { viewport: { width: 640, height: 660 } });
  const url = await keyUrl(page);
  await save('pictures/waiting.png', await page.screenshot());
  const phone = await visitors.open(url, { ...PHONE, deviceScaleFactor: 1, viewport: { width: 390, height: 800 } });
  await phone.getByTestId('user-bob').click();
  const before = await phone.screenshot();
  await phone.getByTestId('submit').click();
  await view(page, 'logged-in');
  await page.setViewportSize({ width: 390, height: 800 });
  await sheet('pictures/scan.png', [{ caption: 'The phone', png: before }, { caption: 'The page, after it', png: await page.screenshot() }], 2, 320);
  await visitors.close();
  await host.stop();
  await service.stop();
}

async function demo() {
  const service = await startService();
  const visitors = people([service.origin]);
  const page = await visitors.open(service.origin, { viewport: { width: 1280, height: 800 } });
  await readQrOf(page);
  await save('demo.png', await page.screenshot());
  await visitors.close();
  await service.stop();
}

await mkdir(FOLDER, { recursive: true });
await demo();
await quickStart();
await states();
await closeBrowser();
