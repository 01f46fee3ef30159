// What a screen reader, a keyboard or weak eyes would stumble over, as axe finds it.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';

const { source } = createRequire(import.meta.url)('axe-core');

/** Nothing is wrong with the page as it stands, in the light and in the dark. */
export async function assertAccessible(page, where) {
  await page.evaluate(source);
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    const found = await page.evaluate(async () => {
      const { violations, incomplete, passes } = await globalThis.axe.run(document);
      if (passes.length === 0) throw new Error('axe looked at nothing');
      return [...violations, ...incomplete].map(({ id, nodes }) => `${id}: ${nodes.map((node) => `${node.html} ${node.failureSummary}`)}`);
    });
    assert.deepEqual(found, [], `${where}, ${colorScheme}`);
  }
}
