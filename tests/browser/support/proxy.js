// A line that can be cut: TCP only, so that what passes is exactly what browser and service say.
import { once } from 'node:events';
import net from 'node:net';

export async function startProxy(target) {
  const pairs = new Set();
  let down = false;
  let mute = false;
  let stalled = false;
  const server = net.createServer((client) => {
    if (down) return client.destroy();
    if (mute) return void pairs.add([client.on('error', () => {})]);
    const [host, port] = target.split(':');
    const upstream = net.connect({ host, port });
    const pair = [client, upstream];
    pairs.add(pair);
    const end = () => {
      pairs.delete(pair);
      pair.forEach((socket) => socket.destroy());
    };
    pair.forEach((socket) => socket.on('error', end).on('close', end));
    client.pipe(upstream).pipe(client);
    if (stalled) pair.forEach((socket) => socket.pause());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const cut = () => pairs.forEach((pair) => pair.forEach((socket) => socket.destroy()));
  return {
    origin: `http://127.0.0.1:${server.address().port}`,
    cut,
    /** From now on new connections lead there. */
    leadTo(address) {
      target = address;
    },
    goDown() {
      down = true;
      cut();
    },
    comeBack() {
      down = mute = false;
    },
    /** From now on connections are taken, and nothing comes. */
    goMute() {
      mute = true;
    },
    /** From now on nothing gets through, in either direction, and nothing is lost, until `flow`. */
    stall() {
      stalled = true;
      pairs.forEach((pair) => pair.forEach((socket) => socket.pause()));
    },
    /** The lines that are open now are dead from here on, and nobody is told; new ones are not. */
    dieSilently() {
      pairs.forEach((pair) => pair.forEach((socket) => socket.pause()));
    },
    flow() {
      stalled = false;
      pairs.forEach((pair) => pair.forEach((socket) => socket.resume()));
    },
    stop() {
      cut();
      server.close();
    },
  };
}
