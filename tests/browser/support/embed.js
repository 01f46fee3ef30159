// A page of somebody else's that embeds the element, and what is to be seen on it.

export const ANY_ORIGIN = { SCANLOGIN_ALLOWED_ORIGINS: '*' };

/** The page as a function of the service's origin. `attributes` and `head` are HTML. */
export const pageWith = ({ attributes = '', head = '', lang = 'en' } = {}) => (origin) => `<!doctype html>
<html lang="${lang}"><head><meta charset="utf-8"><meta name="color-scheme" content="light dark"><title>Shop</title><style>body { background: Canvas; color: CanvasText }</style>
<script type="module" src="${origin}/v1/scanlogin.js"></script>${head}</head>
<body><main><h1>Shop</h1><scan-login endpoint="${origin}" ${attributes}></scan-login></main></body></html>`;

export const view = (page, name) => page.locator(`scan-login[state="${name}"]`).waitFor();

/** The address that the phone's camera reads from the screen. */
export const keyUrl = async (page) => {
  await view(page, 'waiting');
  return page.evaluate(() => document.querySelector('scan-login').client.login.url);
};

/** Keeps what the events told, in the page, from before anything is loaded. */
export const listening = (page) => page.addInitScript(() => {
  globalThis.logins = [];
  addEventListener('login', ({ detail }) => globalThis.logins.push(detail));
});

export const loggedIn = async (page) => (await page.waitForFunction(() => globalThis.logins[0])).jsonValue();
