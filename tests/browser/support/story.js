// One story = one service of its own and the people at their screens. However it ends, nobody's page may have
// spoken to a stranger, logged an error or run into its own content security policy.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { startHost } from './host.js';
import { startNginx } from './nginx.js';
import { closeBrowser, people } from './people.js';
import { startProxy } from './proxy.js';
import { startService } from './service.js';

export { DESKTOP, PHONE } from './people.js';
export * from './screens.js';

after(closeBrowser);

/**
 * `env`: settings of the service. `proxied`: pages reach it over a line that the story can cut.
 * `embed`: a page of somebody else's, made for the origin of the service; it is served from an origin of its own.
 * `headers`: of that page, made for the same.
 * `beside`: somebody else's server instead, started for the service: `{ origin, stop }`.
 * `nginx`: what stands in front of the service; without `proxied` pages reach it there.
 * `skip`: why it cannot be told on this machine. `timeout`: ms after which it has failed.
 * `expected`: console errors that belong to the story, such as the browser's own line for an answer of 404.
 */
export function story(name, { env, proxied = false, nginx: settings, embed, headers, beside, skip = false, timeout = 90_000, expected = [] }, tell) {
  test(name, { timeout, skip }, async () => {
    const service = await startService(env);
    const proxy = proxied ? await startProxy(service.address) : undefined;
    const nginx = settings ? await startNginx(service.address, settings) : undefined;
    const origin = proxy?.origin ?? (nginx ? `http://${nginx.address}` : service.origin);
    let host;
    const visitors = people([origin, service.origin], expected);
    const open = (path, ...rest) => visitors.open(path.startsWith('http') ? path : origin + path, ...rest);

    try {
      host = embed ? await startHost(embed(origin), headers?.(origin)) : await beside?.(service);
      if (host) visitors.know(host.origin);
      await tell({ open, origin, service, proxy, nginx, host });
      assert.deepEqual(visitors.bad, []);
    } finally {
      await visitors.close();
      proxy?.stop();
      await nginx?.stop();
      await host?.stop();
      await service.stop();
    }
  });
}
