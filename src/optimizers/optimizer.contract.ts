import { expect, it } from 'vitest';
import {
  asMatrix,
  blockMatrix,
  gap,
  normal,
  numbers,
  type Rehearsal,
  rehearse,
} from '../../tests/optimizers.ts';
import { compileLoop, type Engine } from '../engine/index.ts';
import { array, evaluate, type InputSpec, type NDArray, type Program } from '../graph/index.ts';
import { multiply } from '../linalg/index.ts';
import { hostTools, ruleProgram } from '../training/updates.ts';
import { type OptimizerMethod, type ParameterInfo, stateBytes, type UpdateRule } from './optimizer.ts';

const layer = { name: 'h.0.q', kind: 'linear', out: 6, in: 4, block: 0 } as const;

/** One of every role; the factors are those of one layer. */
export const everyRole: readonly ParameterInfo[] = [
  { name: 'wte.weight', shape: [7, 4], role: 'embedding' },
  blockMatrix('h.0.tall', 6, 4),
  blockMatrix('h.0.wide', 4, 6),
  blockMatrix('h.1.square', 5, 5, 1),
  { name: 'h.0.q#A', shape: [2, 4], role: 'factor', factor: 'A', layer, scale: 1 },
  { name: 'h.0.q#B', shape: [6, 2], role: 'factor', factor: 'B', layer, scale: 1 },
  { name: 'h.0.norm.weight', shape: [4], role: 'norm' },
  { name: 'h.0.tall.bias', shape: [6], role: 'bias' },
  { name: 'scale', shape: [], role: 'other' },
  { name: 'head.weight', shape: [7, 4], role: 'head' },
];

const weights = everyRole.map((info) => [info, normal(info.shape, `w/${info.name}`)] as const);

const gradientsAt = (step: number, scale = 1) =>
  new Map(everyRole.map(({ name, shape }) => [name, normal(shape, `g/${name}`, step, scale)] as const));

/** Scalars of the compared step. */
const fixed = { rate: 0.01, step: 3, clip: 0.5 };

/** What every optimizer keeps, run through the code of a run. `options` only bring sizes down to these tensors. */
export function optimizerContract(
  engine: () => Engine,
  method: OptimizerMethod,
  options: Record<string, unknown>,
): void {
  const start = (seed?: number) => rehearse(engine(), method, options, weights, seed);

  it('puts every parameter in exactly one rule', () => {
    const names = start().updates.rules.flatMap((r) => r.parameters.map((p) => p.name));
    expect(names.toSorted()).toEqual(everyRole.map((p) => p.name).toSorted());
  });

  it('starts its state at zero and holds the bytes that it declares', async () => {
    const run = start();
    const held = () => [...run.updates.state.values()];
    expect(
      held()
        .flatMap(numbers)
        .every((x) => x === 0),
    ).toBe(true);
    for (const step of [1, 2, 3]) {
      await run.step(gradientsAt(step), 0.01, step);
      const bytes = held().reduce((n, a) => n + a.data.byteLength, 0);
      expect(stateBytes(run.updates.rules, step)).toBe(bytes);
    }
  });

  it('leaves weights alone where there is no gradient and no decay', async () => {
    const run = start();
    const none = new Map(everyRole.map((p) => [p.name, normal(p.shape, 'none', 0, 0)]));
    for (const step of [1, 2, 3]) await run.step(none, 0.1, step);
    for (const [info, w] of weights) expect(run.arrays.get(info.name)!.data, info.name).toEqual(w.data);
  });

  it('finds the minimum of a quadratic', async () => {
    const run = start();
    const goal = new Map(everyRole.map((p) => [p.name, normal(p.shape, `goal/${p.name}`, 0, 0.5)]));
    const before = distance(run, goal);
    // Enough for methods that move one block of many at a time.
    const total = 600;
    for (let t = 1; t <= total; t++) {
      await run.step(quadraticGradients(run, goal), 0.05 * (1 - (t - 1) / total), t);
    }
    expect(distance(run, goal)).toBeLessThan(0.02 * before);
  });

  it('computes in a loop, in ONNX Runtime and by reference arithmetic the same to float32 rounding', async () => {
    for (const rule of start().updates.rules) {
      await compareLowerings(engine(), ruleProgram(rule.parameters, rule), rule);
      const idle = rule.idle?.update && { state: {}, update: rule.idle.update };
      if (idle) await compareLowerings(engine(), ruleProgram(rule.parameters, idle), rule);
    }
  });

  it('continues from saved state bit by bit', async () => {
    const whole = start();
    for (let t = 1; t <= 6; t++) await whole.step(gradientsAt(t), 0.01, t);
    const first = start();
    for (let t = 1; t <= 3; t++) await first.step(gradientsAt(t), 0.01, t);
    const second = start();
    second.updates.settle(3);
    expect([...second.updates.state.keys()]).toEqual([...first.updates.state.keys()]);
    copy(first.arrays, second.arrays);
    copy(first.updates.state, second.updates.state);
    for (let t = 4; t <= 6; t++) await second.step(gradientsAt(t), 0.01, t);
    expectSame(second, whole);
  });

  it('does the same again with one seed', async () => {
    const [a, b] = [start(3), start(3)];
    for (let t = 1; t <= 4; t++) {
      await a.step(gradientsAt(t), 0.01, t);
      await b.step(gradientsAt(t), 0.01, t);
    }
    expectSame(a, b);
  });
}

async function compareLowerings(engine: Engine, p: Program, rule: UpdateRule): Promise<void> {
  const feeds = Object.fromEntries(p.inputs.map((i) => [i.name, feedOf(i, rule)]));
  const expected = evaluate(p, feeds);
  const close = (got: Record<string, NDArray>) => {
    for (const name of Object.keys(p.outputs)) {
      const size = Math.max(1, ...numbers(expected[name]).map(Math.abs));
      const most = gap(numbers(got[name]), numbers(expected[name]));
      // An integer on the edge between two may round either way.
      const allowed = p.outputs[name].dtype === 'float32' ? 2e-5 * size : 1.5;
      expect(most, `${rule.parameters[0].name} ${name}`).toBeLessThan(allowed);
    }
  };
  close(await (await engine.compile(p)).run(feeds));
  const copies = Object.fromEntries(
    Object.entries(feeds).map(([name, a]) => [name, { ...a, data: a.data.slice() }]),
  );
  const loop = compileLoop(p);
  if (loop) loop.run(feeds, Object.fromEntries(Object.keys(p.outputs).map((name) => [name, copies[name]])));
  else if (rule.host) await runOnHost(engine, rule, copies);
  else return;
  close(copies);
}

async function runOnHost(engine: Engine, rule: UpdateRule, arrays: Record<string, NDArray>): Promise<void> {
  const list = (letter: string) => rule.parameters.map((_, i) => arrays[`${letter}${i}`]);
  const state = Object.fromEntries(Object.keys(rule.state).map((k) => [k, arrays[`s:${k}`]]));
  const own = { parameters: list('p'), gradients: list('g'), state };
  await rule.host!.update({ ...own, ...hostTools(engine), ...fixed });
}

/** Values as they may stand at step 3: state is not negative, as Adam's v; integers are 0 to 3. */
function feedOf({ name, shape, dtype }: InputSpec, rule: UpdateRule): NDArray {
  if (name in fixed) return array([fixed[name as keyof typeof fixed]], shape);
  const drawn = normal(shape, `lowering/${rule.parameters[0].name}/${name}`);
  if (!name.startsWith('s:')) return drawn;
  const magnitudes = numbers(drawn).map(Math.abs);
  return array(dtype === 'float32' ? magnitudes : magnitudes.map((x) => Math.floor(x) % 4), shape, dtype);
}

function minus(a: NDArray, b: NDArray): NDArray {
  const [x, y] = [numbers(a), numbers(b)];
  return array(
    x.map((v, i) => v - y[i]),
    a.shape,
  );
}

const [FACTOR_A, FACTOR_B] = everyRole.filter((p) => p.role === 'factor').map((p) => p.name);

/** Tensor minus goal for each; the factors' product stands for them, as it does in a model. */
function errors(
  arrays: ReadonlyMap<string, NDArray>,
  goal: ReadonlyMap<string, NDArray>,
): Map<string, NDArray> {
  const product = (of: ReadonlyMap<string, NDArray>) => multiplied(of.get(FACTOR_B)!, of.get(FACTOR_A)!);
  const own = [...arrays].filter(([name]) => name !== FACTOR_A && name !== FACTOR_B);
  return new Map([
    ...own.map(([name, w]) => [name, minus(w, goal.get(name)!)] as const),
    ['product', minus(product(arrays), product(goal))],
  ]);
}

/** Gradients of half the squared distance. */
function quadraticGradients(run: Rehearsal, goal: ReadonlyMap<string, NDArray>): Map<string, NDArray> {
  const all = errors(run.arrays, goal);
  const G = all.get('product')!;
  return all
    .set(FACTOR_A, multiplied(run.arrays.get(FACTOR_B)!, G, { transposeA: true }))
    .set(FACTOR_B, multiplied(G, run.arrays.get(FACTOR_A)!, { transposeB: true }));
}

function multiplied(
  a: NDArray,
  b: NDArray,
  how: { transposeA?: boolean; transposeB?: boolean } = {},
): NDArray {
  const { rows, cols, data } = multiply(asMatrix(a), asMatrix(b), how);
  return array(data, [rows, cols]);
}

function distance(run: Rehearsal, goal: ReadonlyMap<string, NDArray>): number {
  const squares = [...errors(run.arrays, goal).values()].flatMap((e) => numbers(e).map((d) => d * d));
  return squares.reduce((total, d) => total + d, 0);
}

function copy(from: ReadonlyMap<string, NDArray>, into: ReadonlyMap<string, NDArray>): void {
  for (const [name, a] of from) into.get(name)!.data.set(a.data as never);
}

function expectSame(a: Rehearsal, b: Rehearsal): void {
  for (const [name, w] of a.arrays) expect(w.data, name).toEqual(b.arrays.get(name)!.data);
  for (const [name, s] of a.updates.state) expect(s.data, name).toEqual(b.updates.state.get(name)!.data);
}
