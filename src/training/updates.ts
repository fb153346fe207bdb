import { compileLoop, type Engine, type Executable, type Loop } from '../engine/index.ts';
import { input, mul, type NDArray, program, type Tensor, zeros } from '../graph/index.ts';
import { random } from '../linalg/index.ts';
import type { OptimizerMethod, UpdateRule } from '../optimizers/index.ts';
import type { Trainable } from './trainables.ts';

/** Applies an optimizer's rules to live arrays. */
export interface Updates {
  /** Optimizer state by `<parameter>/<name>`, live. */
  readonly state: ReadonlyMap<string, NDArray>;
  /** Moves the parameters of one rule. `gradients` in the rule's order. */
  apply(rule: UpdateRule, gradients: readonly NDArray[], step: StepScalars): Promise<void>;
  readonly rules: readonly UpdateRule[];
  /** Zeroes the state of a parameter. */
  reset(parameter: string): void;
}

export interface StepScalars {
  /** η of this update. */
  readonly rate: number;
  /** t, counted from 1. */
  readonly step: number;
  /** Multiplies every gradient: the clipping factor. */
  readonly clip: number;
}

interface Compiled {
  readonly outputs: readonly string[];
  readonly loop?: Loop;
  readonly executable?: Executable;
}

export function createUpdates(
  engine: Engine,
  method: OptimizerMethod,
  options: unknown,
  trainables: readonly Trainable[],
  seed: number,
): Updates {
  const arrays = new Map(trainables.map((t) => [t.info.name, t.array]));
  const rules = method.rules(
    trainables.map((t) => t.info),
    options,
  );
  const state = new Map<string, NDArray>();
  for (const rule of rules)
    for (const [name, spec] of Object.entries(rule.state)) {
      const array = zeros(spec.shape, spec.dtype);
      state.set(stateName(rule, name), array);
      engine.ledger.hold('optimizer', stateName(rule, name), array.data.byteLength);
    }
  const compiled = new Map<UpdateRule, Promise<Compiled>>();
  const scalars = { rate: zeros([]), step: zeros([]), clip: zeros([]) };

  return {
    state,
    rules,
    async apply(rule, gradients, step) {
      if (!compiled.has(rule)) compiled.set(rule, compileRule(engine, rule));
      const ready = await compiled.get(rule)!;
      const own = Object.fromEntries(Object.keys(rule.state).map((k) => [k, state.get(stateName(rule, k))!]));
      const parameters = rule.parameters.map((p) => arrays.get(p.name)!);
      await rule.prepare?.({
        step: step.step,
        parameters,
        gradients,
        state: own,
        random: (purpose) => random(seed, `optimizer/${rule.parameters[0].name}/${purpose}`),
      });
      for (const key of ['rate', 'step', 'clip'] as const) scalars[key].data[0] = step[key];
      await move(ready, { ...ruleArrays(parameters, gradients, own), ...scalars });
    },
    reset(parameter) {
      for (const rule of rules)
        if (rule.parameters.some((p) => p.name === parameter))
          for (const name of Object.keys(rule.state)) state.get(stateName(rule, name))!.data.fill(0 as never);
    },
  };
}

function stateName(rule: UpdateRule, name: string): string {
  return `${rule.parameters.map((p) => p.name).join('+')}/${name}`;
}

function ruleArrays(
  parameters: readonly NDArray[],
  gradients: readonly NDArray[],
  state: Record<string, NDArray>,
) {
  const named: Record<string, NDArray> = {};
  parameters.forEach((a, i) => {
    named[`p${i}`] = a;
  });
  gradients.forEach((a, i) => {
    named[`g${i}`] = a;
  });
  for (const [name, array] of Object.entries(state)) named[`s:${name}`] = array;
  return named;
}

/** Traces a rule with positional names, so that parameters of one shape share one program. */
async function compileRule(engine: Engine, rule: UpdateRule): Promise<Compiled> {
  const clip = input('clip', []);
  const parameters = rule.parameters.map((p, i) => input(`p${i}`, p.shape));
  const gradients = rule.parameters.map((p, i) => mul(input(`g${i}`, p.shape), clip));
  const state = Object.fromEntries(
    Object.entries(rule.state).map(([name, spec]) => [name, input(`s:${name}`, spec.shape, spec.dtype)]),
  );
  const result = rule.update({
    parameters,
    gradients,
    state,
    rate: input('rate', []),
    step: input('step', []),
  });
  const outputs: Record<string, Tensor> = {};
  result.parameters.forEach((t, i) => {
    outputs[`p${i}`] = t;
  });
  for (const [name, t] of Object.entries(result.state)) outputs[`s:${name}`] = t;
  const p = program(outputs);
  const loop = engine.device === 'cpu' ? compileLoop(p) : undefined;
  const names = Object.keys(outputs);
  return loop ? { loop, outputs: names } : { executable: await engine.compile(p), outputs: names };
}

async function move({ loop, executable, outputs }: Compiled, arrays: Record<string, NDArray>): Promise<void> {
  if (loop) {
    loop.run(arrays, Object.fromEntries(outputs.map((name) => [name, arrays[name]])));
    return;
  }
  const feeds = Object.fromEntries(executable!.inputs.map(({ name }) => [name, arrays[name]]));
  const result = await executable!.run(feeds);
  for (const [name, array] of Object.entries(result))
    (arrays[name].data as Float32Array).set(array.data as Float32Array);
}
