// A web server of somebody else's: one page, on an origin of its own, and an empty one to go to.
import { once } from 'node:events';
import http from 'node:http';

// Where its page may go.
const ELSEWHERE = { '/elsewhere.html': '<!doctype html><title>Elsewhere</title>' };

/** `headers`: of the page, such as its content security policy. `port`: 0 for any. */
export async function startHost(html, headers = {}, port = 0) {
  const server = http.createServer((request, response) => {
    const body = request.url === '/' ? html : ELSEWHERE[request.url];
    response.writeHead(body ? 200 : 204, { 'Content-Type': 'text/html; charset=utf-8', ...headers });
    response.end(body);
  });
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  return {
    origin: `http://127.0.0.1:${server.address().port}`,
    stop() {
      server.closeAllConnections();
      server.close();
    },
  };
}
