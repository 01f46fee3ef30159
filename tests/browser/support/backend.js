// A backend of somebody else's, as docs/examples has them: a process that serves its page on a port of its own.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { listening } from './port.js';

/** Why a test of it must be skipped on this machine, or `false`. */
export const missing = (command, ...versionFlag) =>
  spawnSync(command, versionFlag, { stdio: 'ignore' }).error ? `${command} is not on this machine` : false;

/** `command`: as one types it in `cwd`. */
export async function startBackend(command, { cwd, port, env }) {
  // A group of its own, because `go run` and a shell have children.
  const child = spawn('bash', ['-c', command], { cwd, env: { ...process.env, ...env, PORT: String(port) }, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  const said = [];
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => said.push(text));
  const exited = once(child, 'exit');
  await listening(port, exited, command).catch((error) => {
    try {
      process.kill(-child.pid, 'SIGKILL');
    } catch {
      // All of it has ended.
    }
    throw new Error(`${error.message}\n${said.join('')}`);
  });
  return {
    origin: `http://127.0.0.1:${port}`,
    async stop() {
      process.kill(-child.pid, 'SIGKILL');
      await exited;
    },
  };
}
