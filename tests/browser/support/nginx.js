// A real nginx between the browser and the service, set up as one that lets no WebSocket through.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** `buffering`: whether it collects an answer before it hands it on, whatever the service says about that. */
export async function startNginx(upstream, { buffering = false } = {}) {
  const folder = await mkdtemp(join(tmpdir(), 'nginx-'));
  const port = await freePort();
  const collects = buffering ? 'proxy_buffering on; proxy_ignore_headers X-Accel-Buffering;' : '';
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((kind) => `${kind}_temp_path ${kind};`).join(' ');
  await writeFile(join(folder, 'nginx.conf'), `
    daemon off; master_process off; pid nginx.pid;
    events { worker_connections 256; }
    http {
      access_log off; ${temporary}
      server {
        listen 127.0.0.1:${port};
        location / {
          if ($http_upgrade) { return 403; }
          proxy_pass http://${upstream};
          proxy_http_version 1.1;
          proxy_set_header Host $http_host;
          proxy_set_header Connection '';
          ${collects}
        }
      }
    }`);
  const child = spawn('nginx', ['-p', folder, '-e', 'stderr', '-c', join(folder, 'nginx.conf')], { stdio: 'ignore' });
  const exited = once(child, 'exit');
  await listening(port, exited);
  return {
    address: `127.0.0.1:${port}`,
    async stop() {
      child.kill('SIGKILL');
      await exited;
      await rm(folder, { recursive: true });
    },
  };
}

async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

async function listening(port, exited) {
  let gone = false;
  exited.then(() => (gone = true));
  for (;;) {
    if (gone) throw new Error('nginx ended: is it installed? tests/run does it');
    const socket = net.connect(port, '127.0.0.1');
    const up = await new Promise((resolve) => socket.once('connect', () => resolve(true)).once('error', () => resolve(false)));
    socket.destroy();
    if (up) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
