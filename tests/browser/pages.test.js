// The pages that the service writes itself: the API's, the one for phones without the app, and refusals. In a real
// browser they look for nothing elsewhere, fit a phone, and axe finds nothing in the light or in the dark.
import assert from 'node:assert/strict';
import { assertAccessible } from './support/axe.js';
import { DESKTOP, PHONE, story } from './support/story.js';

const SECRET = 'a secret of the app, of thirty-two bytes or more';
const env = {
  SCANLOGIN_APP_JWT_SECRET: SECRET,
  SCANLOGIN_TOKEN_SECRET: SECRET.toUpperCase(),
  SCANLOGIN_APP_NAME: 'Shop',
  SCANLOGIN_APP_LINKS: 'https://apps.example/shop,https://play.example/shop',
};

async function fits(page) {
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${page.url()} scrolls sideways`);
}

for (const [screen, options] of Object.entries({ desktop: DESKTOP, phone: PHONE })) {
  story(`the API's page and the page for a phone without the app, on a ${screen}`, { env }, async ({ open }) => {
    const docs = await open('/docs', options);
    await docs.getByText('/scan/confirm').first().waitFor();
    await fits(docs);
    await assertAccessible(docs, `/docs, ${screen}`);

    const landing = await open('/s#AUPEMn0DSYK9l445e8lDe3T25AM7RrZGKgIw17DKeQU', options);
    await landing.getByText('Shop').first().waitFor();
    assert.deepEqual(await landing.locator('a[href^="https:"]').evaluateAll((links) => links.map(({ href }) => href)), env.SCANLOGIN_APP_LINKS.split(','));
    await fits(landing);
    await assertAccessible(landing, `/s, ${screen}`);
  });

  story(`a path that does not exist is explained to a person, on a ${screen}`, { env, expected: [/status of 404/] }, async ({ open }) => {
    const page = await open('/nothing-here', options);
    await page.getByRole('heading').first().waitFor();
    await fits(page);
    await assertAccessible(page, `404, ${screen}`);
  });
}
