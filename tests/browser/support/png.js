// Small pictures: few colours, which a page of ours has hardly more of.
import { deflateSync, crc32 } from 'node:zlib';
import { PNG } from 'pngjs';

const MOST_COLOURS = 28;

/** The same picture with a palette: the most frequent colours, and for each other one the nearest of them. */
export function withPalette(png) {
  const { data, width, height } = PNG.sync.read(png);
  const pixels = new Uint32Array(width * height);
  const counts = new Map();
  for (let at = 0; at < pixels.length; at += 1) {
    // Three bits less of each: nobody sees it, and shades of one letter's edge become one.
    pixels[at] = ((data[at * 4] & 0xf8) << 16) | ((data[at * 4 + 1] & 0xf8) << 8) | (data[at * 4 + 2] & 0xf8);
    counts.set(pixels[at], (counts.get(pixels[at]) ?? 0) + 1);
  }
  const palette = [...counts].sort(([, a], [, b]) => b - a).slice(0, MOST_COLOURS).map(([colour]) => colour);
  const index = new Map(palette.map((colour, at) => [colour, at]));
  const channel = (colour, shift) => (colour >> shift) & 0xff;
  const distance = (a, b) => [16, 8, 0].reduce((sum, shift) => sum + (channel(a, shift) - channel(b, shift)) ** 2, 0);
  const nearest = (colour) => palette.reduce((best, one, at) => (distance(one, colour) < distance(palette[best], colour) ? at : best), 0);
  for (const colour of counts.keys()) if (!index.has(colour)) index.set(colour, nearest(colour));

  const rows = Buffer.alloc((width + 1) * height);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) rows[y * (width + 1) + 1 + x] = index.get(pixels[y * width + x]);
  }
  // What was white stays so: the low bits go back where all the others are set.
  const full = (value) => value | (value >> 5);
  const colours = Buffer.from(palette.flatMap((colour) => [16, 8, 0].map((shift) => full(channel(colour, shift)))));
  const size = Buffer.alloc(13);
  size.writeUInt32BE(width, 0);
  size.writeUInt32BE(height, 4);
  size.set([8, 3, 0, 0, 0], 8);
  return Buffer.concat([
    Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]),
    chunk('IHDR', size), chunk('PLTE', colours), chunk('IDAT', deflateSync(rows, { level: 9 })), chunk('IEND', Buffer.alloc(0)),
  ]);
}

function chunk(type, data) {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
  const frame = Buffer.alloc(body.length + 8);
  frame.writeUInt32BE(data.length, 0);
  body.copy(frame, 4);
  frame.writeUInt32BE(crc32(body) >>> 0, body.length + 4);
  return frame;
}
