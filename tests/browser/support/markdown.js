// The fenced blocks of a page of the documentation, and what the comment before each says about it.
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

/**
 * `{ heading, lang, text, line, note }` of each block. `note`: what an HTML comment on the line before says, such as
 * `run: <test>`, `from: <file>` or `not run: <reason>`; `docs.test.js` demands one.
 */
export async function blocksOf(path) {
  const lines = (await readFile(ROOT + path, 'utf8')).split('\n');
  const blocks = [];
  let heading = '';
  let open = null;
  lines.forEach((line, index) => {
    if (open) {
      if (line === '```') open = blocks.push({ ...open, text: open.text.join('\n') + '\n' }) && null;
      else open.text.push(line);
    } else if (line.startsWith('```')) {
      const [, note] = lines[index - 1].match(/^<!-- (.*) -->$/) ?? [];
      open = { heading, lang: line.slice(3), text: [], line: index + 1, note };
    } else if (line.startsWith('#')) heading = line.replace(/^#+ /, '');
  });
  return blocks;
}

/** The blocks under one heading. */
export const blocksUnder = async (path, heading) => {
  const found = (await blocksOf(path)).filter((block) => block.heading === heading);
  if (found.length === 0) throw new Error(`${path} has no block under "${heading}"`);
  return found;
};
