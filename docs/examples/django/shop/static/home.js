// The token is handed to our own server, which answers with its session's cookie; no script keeps anything.
document.querySelector('scan-login').addEventListener('login', async ({ detail }) => {
  await fetch('/session', {
    method: 'POST',
    headers: {
      'Content-Type': 'application/json',
      'X-CSRFToken': document.querySelector('[name=csrfmiddlewaretoken]').value,
    },
    body: JSON.stringify({ token: detail.token }),
  });
  location.reload();
});
