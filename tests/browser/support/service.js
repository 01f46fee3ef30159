// Starts the real service, one process per story, and ends exactly that process.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export const BINARY = process.env.SCANLOGIN_BIN ?? fileURLToPath(new URL('../../../target/debug/scanlogin', import.meta.url));
const START_MS = 20_000;

export async function startService(env = {}) {
  // The service refuses variables it does not know, ours among them, and must not inherit a developer's settings.
  const inherited = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('SCANLOGIN_')));
  const listen = env.SCANLOGIN_LISTEN ?? '127.0.0.1:0';
  const child = spawn(BINARY, ['--listen', listen, '--admin-listen', '127.0.0.1:0'], {
    env: { ...inherited, SCANLOGIN_LOG_FORMAT: 'json', ...env },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const exited = new Promise((resolve) => child.once('exit', resolve));
  const log = [];
  const { address, admin_address: admin } = await listening(child, log);
  return {
    address,
    origin: `http://${address}`,
    admin: `http://${admin}`,
    log,
    async stop() {
      child.kill('SIGKILL');
      await exited;
    },
  };
}

function listening(child, log) {
  return new Promise((resolve, reject) => {
    const giveUp = (why) => {
      clearTimeout(timer);
      child.kill('SIGKILL');
      reject(new Error(`${why}\n${log.join('\n')}`));
    };
    const timer = setTimeout(giveUp, START_MS, `no "listening" in the log of ${BINARY}`);
    child.once('error', (error) => giveUp(`${BINARY}: ${error.message}`));
    const ended = (code) => giveUp(`${BINARY} ended with ${code}`);
    child.once('exit', ended);
    createInterface({ input: child.stderr }).on('line', (line) => {
      log.push(line);
      const { fields } = parsed(line);
      if (fields?.message !== 'listening') return;
      clearTimeout(timer);
      child.off('exit', ended);
      resolve(fields);
    });
  });
}

function parsed(line) {
  try {
    return JSON.parse(line);
  } catch {
    return {};
  }
}
