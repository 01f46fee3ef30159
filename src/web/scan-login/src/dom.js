// Elements without a parser: a page that enforces Trusted Types has no objection.

const SVG = 'http://www.w3.org/2000/svg';

export function make(name, attributes = {}, ...children) {
  const element = ['svg', 'path'].includes(name) ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** The service's drawing of a code, taken for its squares alone: nothing else of it gets into the page. */
export function drawing(qrSvg, label) {
  const [, size] = qrSvg.match(/viewBox="0 0 (\d+) \d+"/) ?? [];
  const [, squares] = qrSvg.match(/ d="([MmHhVvZz\d ,-]+)"/) ?? [];
  if (!squares) return null;
  const svg = make('svg', { role: 'img', viewBox: `0 0 ${size} ${size}` }, make('path', { d: squares }));
  svg.setAttribute('aria-label', label);
  svg.style.setProperty('--modules', size);
  return svg;
}
