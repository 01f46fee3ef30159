// Never run: the types must let a page do this, and nothing else.
import { ScanLogin, type LoginDetail } from 'scanlogin-element';

const client = new ScanLogin({ endpoint: 'https://login.example.com', storage: localStorage });
client.addEventListener('change', () => {
  if (client.state === 'waiting') console.log(client.login?.url, client.retryAt ?? 0);
  // @ts-expect-error: no such state
  if (client.state === 'reconnecting') return;
});
client.addEventListener('login', ({ detail }) => keep(detail));
client.addEventListener('undelivered', ({ type }) => console.log(type, client.unacknowledged));
client.start();
client.retry(1_000);
// @ts-expect-error: the service says where a login stands, not the page
client.state = 'logged-in';

const element = document.querySelector('scan-login')!;
element.addEventListener('login', ({ detail }) => keep(detail));
element.addEventListener('undelivered', () => keep({}));
element.addEventListener('click', ({ clientX }) => console.log(clientX));
element.texts = { waiting: 'Come in' };
if (element.state === 'offline') element.retry();

function keep({ token = 'a cookie', user }: LoginDetail): void {
  console.log(token, user);
}
