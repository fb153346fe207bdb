import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { blockMatrix, gap, normal, numbers, type Rehearsal, rehearse } from '../../tests/optimizers.ts';
import { recorded, recordedParameters, recordedRun } from '../../tests/optimizers-memory.ts';
import { createEngine, type Engine } from '../engine/index.ts';
import { badam } from './badam.ts';
import type { ParameterInfo } from './optimizer.ts';

let engine: Engine;
beforeAll(async () => {
  engine = await createEngine({ threads: 1 });
});
afterAll(() => engine.dispose());

it.each(recorded.badam)(
  '20 steps as AdamW made anew for each block: $options',
  async ({ options, weights }) => {
    const parameters = recordedParameters((name, shape, i) => ({
      name: `h.${i}.${name}`,
      shape,
      role: 'matrix',
    }));
    for (const [name, own] of await recordedRun(engine, badam, options, parameters))
      expect(gap(own, weights[name]), name).toBeLessThan(2e-6);
  },
);

const model: readonly ParameterInfo[] = [
  { name: 'wte.weight', shape: [9, 4], role: 'embedding' },
  ...[0, 1, 2].flatMap((i) => [
    blockMatrix(`h.${i}.attn.q`, 4, 4, i),
    { name: `h.${i}.norm.weight`, shape: [4], role: 'norm' } as const,
    { name: `h.${i}.norm.bias`, shape: [4], role: 'bias' } as const,
  ]),
  { name: 'ln_f.weight', shape: [4], role: 'norm' },
  { name: 'ln_f.bias', shape: [4], role: 'bias' },
];

const begin = (options: Record<string, unknown>, on = engine) =>
  rehearse(
    on,
    badam,
    { gap: 2, ...options },
    model.map((p) => [p, normal(p.shape, `w/${p.name}`)]),
  );

/** Names of what a step moves. */
async function movedBy(run: Rehearsal, t: number): Promise<string[]> {
  const before = new Map([...run.arrays].map(([name, a]) => [name, numbers(a)]));
  await run.step(new Map(model.map((p) => [p.name, normal(p.shape, `g/${p.name}`, t)])), 0.1, t);
  return [...run.arrays].filter(([name, a]) => gap(numbers(a), before.get(name)!) > 0).map(([name]) => name);
}

const layer = (i: number) => [`h.${i}.attn.q.weight`, `h.${i}.norm.weight`, `h.${i}.norm.bias`];

describe('turns', () => {
  it('move one layer with all that is in it, then the next', async () => {
    const run = begin({ order: 'ascending' });
    const seen: string[][] = [];
    for (let t = 1; t <= 12; t++) seen.push(await movedBy(run, t));
    const turns = [
      ['wte.weight'],
      layer(0),
      layer(1),
      layer(2),
      ['ln_f.weight', 'ln_f.bias'],
      ['wte.weight'],
    ];
    expect(seen).toEqual(turns.flatMap((names) => [names, names]));
  });

  it('in random order give every block one turn a round, in other orders each round', async () => {
    const run = begin({ gap: 1 });
    const rounds: string[][] = [];
    for (let round = 0; round < 6; round++) {
      const first: string[] = [];
      for (let i = 1; i <= 5; i++) first.push((await movedBy(run, 5 * round + i))[0]);
      rounds.push(first);
    }
    for (const round of rounds) expect(new Set(round).size).toBe(5);
    expect(new Set(rounds.map((r) => r.join())).size).toBeGreaterThan(1);
  });

  it('leave out what is in no layer, or train it always, where asked to', async () => {
    const others = ['wte.weight', 'ln_f.weight', 'ln_f.bias'];
    const [frozen, always] = [
      begin({ order: 'descending', others: 'frozen' }),
      begin({ order: 'descending', others: 'always' }),
    ];
    for (let t = 1; t <= 7; t++) {
      const turn = layer([2, 1, 0][Math.floor((t - 1) / 2) % 3]);
      expect(await movedBy(frozen, t)).toEqual(turn);
      expect((await movedBy(always, t)).toSorted()).toEqual([...others, ...turn].toSorted());
    }
  });
});

it('holds the state of one block, also while blocks change', async () => {
  const own = await createEngine({ threads: 1 });
  const run = begin({ others: 'frozen' }, own);
  for (let t = 1; t <= 9; t++) await movedBy(run, t);
  expect(own.ledger.peak).toBe(8 * (16 + 4 + 4));
  await own.dispose();
});
