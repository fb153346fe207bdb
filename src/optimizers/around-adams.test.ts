import { afterAll, beforeAll, expect, it } from 'vitest';
import { blockMatrix, gap, normal, numbers } from '../../tests/optimizers.ts';
import { createEngine, type Engine } from '../engine/index.ts';
import { array, type NDArray } from '../graph/index.ts';
import { hostTools, ruleProgram } from '../training/updates.ts';
import { fira } from './fira.ts';
import { frugal } from './frugal.ts';
import { galore } from './galore.ts';
import { gradNormLorp } from './gradnormlorp.ts';
import type { OptimizerMethod } from './optimizer.ts';

let engine: Engine;
beforeAll(async () => {
  engine = await createEngine({ threads: 1 });
});
afterAll(() => engine.dispose());

/** Its coordinates in 128 dimensions are as many as are moved by a loop. */
const large = blockMatrix('h.0.large', 520, 512);
const small = blockMatrix('h.0.small', 500, 400);

const methods: [OptimizerMethod, Record<string, unknown>][] = [
  [galore, { rank: 128, weightDecay: 0.1 }],
  [fira, { rank: 128 }],
  [gradNormLorp, { rank: 128 }],
  [frugal, { split: 'svd', density: 0.25 }],
  [frugal, { split: 'random', density: 0.25, reset: false }],
];

const ruleOf = (method: OptimizerMethod, o: Record<string, unknown>, parameter: typeof large) =>
  method.rules([parameter], method.options.parse(o), 0)[0];

it.each(methods)(
  '$name $1: a large Adam between two programs does what one program does',
  async (method, o) => {
    const rule = ruleOf(method, o, large);
    const [whole, staged] = [0, 1].map(() => {
      const state = Object.entries(rule.state).map(([name, { shape }]) => {
        const drawn = normal(shape, `s/${name}`, 0, 0.1);
        return [`s:${name}`, array(numbers(drawn).map(Math.abs), shape)] as const;
      });
      return Object.fromEntries([['p0', normal(large.shape, 'p')], ...state]) as Record<string, NDArray>;
    });
    const executable = await engine.compile(ruleProgram([large], rule));
    const tools = hostTools(engine);
    for (const step of [2, 3]) {
      const g0 = normal(large.shape, 'g', step);
      const scalars = { rate: array([0.01], []), step: array([step], []), clip: array([0.5], []) };
      const feeds = { ...whole, g0, ...scalars };
      const names = executable.inputs.map(({ name }) => name);
      const result = await executable.run(
        Object.fromEntries(names.map((name) => [name, feeds[name as keyof typeof feeds]])),
      );
      Object.assign(whole, result);
      await rule.host!.update({
        parameters: [staged.p0],
        gradients: [g0],
        state: Object.fromEntries(Object.keys(rule.state).map((name) => [name, staged[`s:${name}`]])),
        ...{ rate: 0.01, step, clip: 0.5 },
        ...tools,
      });
    }
    for (const [name, one] of Object.entries(whole)) {
      const size = numbers(one).reduce((most, x) => Math.max(most, Math.abs(x)), 0);
      expect(gap(numbers(staged[name]), numbers(whole[name])), name).toBeLessThan(2e-5 * size);
    }
  },
);

it('leaves small Adams of 32 bits in the program', () => {
  for (const [method, o] of methods) {
    expect(ruleOf(method, o, large).host).toBeDefined();
    expect(ruleOf(method, o, small).host).toBeUndefined();
  }
});
