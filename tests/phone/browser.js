// A waiting browser without a page: the login over an event stream.

/** Opens a login and answers with its messages as they come. */
export async function waitingBrowser(origin) {
  const headers = { 'Content-Type': 'application/json', Origin: origin, 'User-Agent': 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0' };
  const response = await fetch(`${origin}/stream`, { method: 'POST', headers, body: '{}' });
  if (response.status !== 200) throw new Error(`/stream answered ${response.status}`);
  const messages = read(response.body);
  const next = async (type) => {
    for (;;) {
      const { value, done } = await messages.next();
      if (done) throw new Error(`the stream ended before '${type}'`);
      if (value.type === type) return value;
    }
  };
  const { key, url, resume } = await next('key');
  return {
    key,
    url,
    next,
    /** Takes the token and says so. */
    async receive() {
      const { token } = await next('token');
      await fetch(`${origin}/stream/message`, { method: 'POST', headers, body: JSON.stringify({ resume, type: 'received' }) });
      return token;
    },
  };
}

async function* read(body) {
  let text = '';
  for await (const chunk of body.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    for (let end; (end = text.indexOf('\n\n')) >= 0; text = text.slice(end + 2)) {
      const data = text.slice(0, end).split('\n').find((line) => line.startsWith('data:'));
      const message = data && JSON.parse(data.slice(5));
      if (message?.type) yield message;
    }
  }
}
