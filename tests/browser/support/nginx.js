// A real nginx between the browser and the service.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort, listening } from './port.js';

/** With this configuration, a function of the port; it must be one that anybody can run anywhere. */
export async function runNginx(configuration) {
  const folder = await mkdtemp(join(tmpdir(), 'nginx-'));
  const port = await freePort();
  await writeFile(join(folder, 'nginx.conf'), configuration(port));
  const child = spawn('nginx', ['-p', folder, '-e', 'stderr', '-c', join(folder, 'nginx.conf')], { stdio: 'ignore' });
  const exited = once(child, 'exit');
  await listening(port, exited, 'nginx (is it installed? tests/run does it)');
  return {
    address: `127.0.0.1:${port}`,
    async stop() {
      child.kill('SIGTERM');
      await exited;
      await rm(folder, { recursive: true });
    },
  };
}

/** One that lets no WebSocket through. `buffering`: whether it collects an answer before it hands it on, whatever the service says about that. */
export function startNginx(upstream, { buffering = false } = {}) {
  const collects = buffering ? 'proxy_buffering on; proxy_ignore_headers X-Accel-Buffering;' : '';
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((kind) => `${kind}_temp_path ${kind};`).join(' ');
  return runNginx((port) => `
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
}
