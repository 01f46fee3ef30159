// Ports of this machine: one that is free, and waiting for somebody to answer there.
import net from 'node:net';

// Below those that the system gives to outgoing connections: a browser makes many while a server starts.
const FIRST = 30_000;
const COUNT = 2_700;
// Files run side by side, each in a process of its own.
let next = process.pid * 97;

export async function freePort() {
  for (;;) {
    const port = FIRST + (next++ % COUNT);
    if (!(await answers(port))) return port;
  }
}

/** Whether somebody listens on this port. */
async function answers(port) {
  const socket = net.connect(port, '127.0.0.1');
  const up = await new Promise((resolve) => socket.once('connect', () => resolve(true)).once('error', () => resolve(false)));
  socket.destroy();
  return up;
}

/** Until the port answers; an error where the process has `exited` before. */
export async function listening(port, exited, name) {
  let gone = false;
  exited.then(() => (gone = true));
  for (;;) {
    if (gone) throw new Error(`${name} ended`);
    if (await answers(port)) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
