/* The client of the Channels consumer, as it was: nothing in it is of scanlogin. */
function start() {
  var box = document.getElementById('qrcode');
  var tip = document.getElementById('tip');
  var isKey = true;
  var socket = new WebSocket('ws://' + window.location.host + '/ws');

  box.innerHTML = '';
  socket.onmessage = function (event) {
    if (isKey) {
      isKey = false;
      new QRCode(box, event.data);
      tip.innerHTML = 'Scan me with the app';
    } else if (event.data === 'again') {
      box.innerHTML = '';
      tip.innerHTML = '<a href="javascript:start()">The code has expired. Again</a>';
    } else {
      localStorage.setItem('token', event.data);
      welcome();
    }
  };
}

function welcome() {
  var request = new XMLHttpRequest();
  request.onload = function () {
    document.getElementById('qrcode').innerHTML = '';
    document.getElementById('tip').innerHTML = 'Hello, ' + JSON.parse(request.responseText).user;
  };
  request.open('GET', '/me');
  request.setRequestHeader('Authorization', 'Bearer ' + localStorage.getItem('token'));
  request.send();
}
