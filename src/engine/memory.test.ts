import { execFileSync } from 'node:child_process';
import { expect, it } from 'vitest';

/** Logits of 1,024 rows over 50,257 tokens, in MiB. */
const ALL_LOGITS = (1024 * 50_257 * 4) / 2 ** 20;

function peak(rows: number): number {
  const script = new URL('../../tests/engine/chunked-loss.ts', import.meta.url).pathname;
  const out = execFileSync(process.execPath, ['--import', 'tsx', script, `${rows}`], { encoding: 'utf8' });
  return Number(out.trim());
}

it('never holds all logits of a large vocabulary, whatever order ONNX Runtime gives the chunks', () => {
  expect(peak(1024)).toBeGreaterThan(ALL_LOGITS);
  expect(peak(128)).toBeLessThan(0.7 * ALL_LOGITS);
}, 120_000);
