// Runs what a page of the documentation prints for a shell.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const run = promisify(execFile);

/**
 * Runs a block and compares each answer with the comment behind its command: the same fields, and the same code, message
 * and state. Returns the answers.
 */
export async function runPrinted(block, env, replaced = []) {
  const text = replaced.reduce((whole, [from, to]) => whole.replaceAll(from, to), block.text);
  // Answers end without a new line: each command's gets one.
  const { stdout } = await run('bash', ['-euo', 'pipefail', '-c', text.replace(/^(?=curl)/gm, "printf '\\n'\n")], { env: { ...process.env, ...env } });
  const expected = [...block.text.matchAll(/^# (\{.*\})(?: .*)?$/gm)].map(([, json]) => JSON.parse(json));
  const answers = stdout.split('\n').filter((line) => line.startsWith('{')).map((line) => JSON.parse(line));
  return { expected, answers };
}

/** The same code, message and state, and the same fields. */
export function sameShape(answer, expected, where) {
  const shape = ({ code, msg, state, ...rest }) => ({ code, msg, state, fields: Object.keys(rest).sort() });
  assert.deepEqual(shape(answer), shape(expected), where);
}

/** As {@link runPrinted}, where each answer is printed. */
export async function runAndCompare(block, env, replaced) {
  const { expected, answers } = await runPrinted(block, env, replaced);
  assert.equal(answers.length, expected.length, `line ${block.line}: answers`);
  answers.forEach((answer, index) => sameShape(answer, expected[index], `line ${block.line}`));
  return answers;
}
