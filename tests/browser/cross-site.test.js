// A page of another origin, in a real browser, tries whatever a page can: nothing is opened, read, changed or framed.
import assert from 'node:assert/strict';
import { DESKTOP, readQrOf, scanAs, state, story, tokenOf, verify } from './support/story.js';

const EMPTY = () => '<!doctype html><meta charset="utf-8"><title>Evil</title><h1>Evil</h1>';
const REFUSED = [/CORS policy/, /WebSocket connection to .* failed/, /frame-ancestors/, /Failed to load resource/, /ERR_BLOCKED_BY_RESPONSE/];

story('a page of another origin gets nothing', { embed: EMPTY, expected: REFUSED }, async ({ open, origin, host, service }) => {
  const victim = await open('/');
  const phone = await scanAs(open, await readQrOf(victim), 'alice');
  await state(phone, 'delivered');
  await state(victim, 'logged-in');
  const token = await tokenOf(victim);
  assert.equal((await verify(service, token)).status, 200);

  const evil = await open(host.origin, DESKTOP);
  const socket = (protocols) => evil.evaluate(([url, names]) => new Promise((resolve) => {
    const socket = new WebSocket(url, names);
    socket.onopen = () => resolve('opened');
    socket.onmessage = () => resolve('heard something');
    socket.onclose = ({ code }) => resolve(code);
  }), [`${origin.replace('http', 'ws')}/ws`, protocols]);
  assert.equal(await socket(['scanlogin.v1']), 1006);
  assert.equal(await socket([]), 1006);

  // `mode`: what the page asks the browser for; without CORS an answer is there and says nothing.
  const call = (path, method, mode, headers, body) => evil.evaluate(async ([url, options]) => {
    const answer = await fetch(url, options).catch((error) => error.name);
    return typeof answer === 'string' ? answer : `${answer.type} ${answer.status} ${await answer.text()}`;
  }, [origin + path, { method, mode, headers, body, credentials: 'include' }]);
  const bearer = { Authorization: `Bearer ${token}` };
  const form = { 'Content-Type': 'application/x-www-form-urlencoded' };
  assert.equal(await call('/verify', 'GET', 'cors', bearer), 'TypeError');
  assert.equal(await call('/logout', 'POST', 'cors', bearer), 'TypeError');
  assert.equal(await call('/logout', 'POST', 'cors', {}), 'TypeError');
  assert.equal(await call('/demo/app-token', 'POST', 'cors', form, 'user=alice'), 'TypeError', 'no token of a demo user either');
  assert.equal(await call('/scan', 'POST', 'cors', { ...bearer, 'Content-Type': 'application/json' }, '{"key":"x"}'), 'TypeError');
  assert.equal(await call('/scan', 'POST', 'cors', form, 'key=x'), 'TypeError');
  for (const path of ['/scan', '/scan/deny', '/logout', '/demo/app-token']) {
    const opaque = await call(path, 'POST', 'no-cors', form, 'user=alice&key=x&claim=x');
    assert.ok(['opaque 0 ', 'TypeError'].includes(opaque), `${path}: ${opaque}`);
  }
  assert.equal((await verify(service, token)).status, 200, 'still logged in');

  await evil.evaluate((url) => new Promise((resolve) => {
    const frame = Object.assign(document.createElement('iframe'), { src: url, onload: resolve });
    document.body.append(frame);
  }), `${origin}/phone`);
  const framed = evil.frames().find((frame) => frame.parentFrame());
  assert.equal(await framed.locator('#phone').count(), 0, 'nothing to click on under a lid');
});
