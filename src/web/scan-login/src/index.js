// `<scan-login>`, and the client without it.
import { ScanLogin } from './client.js';
import { ScanLoginElement } from './element.js';

// Twice on one page, or where there are no elements at all, the client still works.
if (globalThis.customElements && !customElements.get('scan-login')) customElements.define('scan-login', ScanLoginElement);

export { ScanLogin, ScanLoginElement };
