import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TEXTS } from '../src/texts.js';

const placeholders = (text) => text.match(/\{\w+\}/g) ?? [];

for (const [language, texts] of Object.entries(TEXTS)) {
  test(`${language} says everything, with the same blanks to fill in`, () => {
    assert.deepEqual(Object.keys(texts), Object.keys(TEXTS.en));
    for (const [name, text] of Object.entries(texts)) {
      assert.notEqual(text.trim(), '', name);
      assert.deepEqual(placeholders(text), placeholders(TEXTS.en[name]), name);
    }
  });
}
