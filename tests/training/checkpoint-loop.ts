/** Saves checkpoint after checkpoint until it is killed; `src/training/checkpoints.test.ts` starts and kills it. */
import { lazyTensors } from '../../src/formats/safetensors-write.ts';
import { zeros } from '../../src/graph/array.ts';
import { openCheckpoints } from '../../src/training/checkpoints.ts';

const [folder, first] = process.argv.slice(2);
const store = await openCheckpoints(folder, { keepLast: 1 });

function filled(step: number, length: number) {
  const array = zeros([length]);
  (array.data as Float32Array).fill(step);
  return array;
}

for (let step = Number(first); ; step++) {
  const weights = lazyTensors({ a: filled(step, 300_000), b: filled(step, 1000) });
  const optimizer = lazyTensors({ m: filled(step, 300_000) });
  await store.save({ step, state: { step }, tensors: { weights, optimizer } });
  if (step % 2 === 0) await store.save({ step, state: { step }, tensors: { weights, optimizer } }); // replaces itself
  if (step === Number(first)) process.stdout.write('saved\n');
}
