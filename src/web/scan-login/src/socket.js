// The line to the service: a WebSocket.

const PROTOCOL = 'scanlogin.v1';

/**
 * What every transport is: `heard(frame)` and `ended(code, pause)` are called later, never before it returns, and after
 * `close` no more.
 */
export function socket(base, resume, { heard, ended }) {
  const url = new URL('ws', base);
  url.protocol = url.protocol.replace('http', 'ws');
  if (resume) url.searchParams.set('resume', '1');
  url.searchParams.set('qr', 'svg');
  const line = new WebSocket(url, PROTOCOL);
  const send = (message) => line.readyState === 1 && line.send(JSON.stringify(message));
  // The secret goes into the first frame: an address is logged by whatever it passes.
  line.onopen = () => resume && send({ type: 'resume', resume });
  line.onmessage = ({ data }) => heard(data);
  line.onclose = ({ code }) => ended(code);
  return { send, close: (code) => line.close(code) };
}
