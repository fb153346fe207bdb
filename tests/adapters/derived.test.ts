import { readdirSync } from 'node:fs';
import { afterAll, expect, it } from 'vitest';
import { derivedRecord, goldenModel, ownStart, startAsDerived } from './derived.ts';
import { createEngine, trainOn } from './peft.ts';

const folder = new URL('../golden/adapters/', import.meta.url).pathname;
const names = readdirSync(folder)
  .filter((file) => file.startsWith('derived-'))
  .map((file) => file.replace(/^derived-|\.safetensors$/g, ''));

const engine = await createEngine({ threads: 1 });
afterAll(() => engine.dispose());

it.each(names)('%s: updates lose what the derivation from the paper loses', async (name) => {
  const record = await derivedRecord(name);
  const golden = await goldenModel(record.base);
  const own = await ownStart(record, golden, engine);
  const adaptation = startAsDerived(record, golden, own);
  const { losses } = await trainOn(golden, engine, adaptation, {
    steps: record.losses.length,
    rate: record.rate,
  });
  for (const [t, theirs] of record.losses.entries())
    expect(Math.abs(losses[t] / theirs - 1), `update ${t + 1}: ${losses[t]}, derived ${theirs}`).toBeLessThan(
      1e-4,
    );
});

/** What a start computes; vectors of a decomposition have either sign. */
const computed: Readonly<Record<string, readonly string[]>> = {
  'lora-xs': ['A', 'B'],
  'lora-sb': ['A', 'B', 'R'],
  'lora-ga': ['A', 'B'],
  loldu: ['L', 'd', 'U', 'z'],
  salt: ['U1', 'S1', 'V1', 'U2', 'S2', 'V2'],
};

it.each(Object.entries(computed))('%s starts where the derivation starts', async (name, factors) => {
  const record = await derivedRecord(name);
  const own = await ownStart(record, await goldenModel(record.base), engine);
  for (const { spec, trainable, frozen } of own.layers)
    for (const factor of factors) {
      const theirs = record.start[`${spec.name}#${factor}`].data;
      ({ ...trainable, ...frozen })[factor].data.forEach((v: number | bigint, i: number) => {
        expect(Math.abs(Number(v)), `${spec.name}#${factor}[${i}]`).toBeCloseTo(
          Math.abs(Number(theirs[i])),
          4,
        );
      });
    }
});
