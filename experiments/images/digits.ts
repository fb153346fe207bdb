/**
 * Writes MNIST as images in one folder a class, twice: `low` (0 to 4), on which the base of the image experiments is
 * trained, and `high` (5 to 9), which it never saw and is adapted to; each with `train`, `valid` and `test`.
 *
 *     npx tsx experiments/images/digits.ts runs/experiments/digits [DATA]
 *
 * DATA defaults to `RANKINE_DATA` or `../shared/data`. Nothing is random: the same sources give the same bytes.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { encode } from 'fast-png';
import { readMnist } from '../../src/data/index.ts';

/** Images of the test file of MNIST, from the first on; the last 2,000 are left alone. */
const SPLITS = { train: 5000, valid: 1000, test: 2000 };
const HALVES = { low: [0, 1, 2, 3, 4], high: [5, 6, 7, 8, 9] };

const out = process.argv[2] ?? 'runs/experiments/digits';
const data =
  process.argv[3] ?? process.env.RANKINE_DATA ?? new URL('../../../shared/data', import.meta.url).pathname;
const file = (name: string) => join(data, `vision/mnist.t10k-${name}-ubyte.gz`);
const digits = await readMnist(file('images-idx3'), file('labels-idx1'));

let from = 0;
for (const [split, count] of Object.entries(SPLITS)) {
  const part = digits.slice(from, from + count);
  for (const [half, classes] of Object.entries(HALVES)) {
    for (const label of classes) mkdirSync(join(out, half, split, String(label)), { recursive: true });
    let written = 0;
    part.forEach(({ image, label }, i) => {
      if (!classes.includes(label)) return;
      const name = `${String(from + i).padStart(4, '0')}.png`;
      writeFileSync(join(out, half, split, String(label), name), encode({ ...image, depth: 8 }));
      written++;
    });
    console.log(`${join(out, half, split)}: ${written} images`);
  }
  from += count;
}
