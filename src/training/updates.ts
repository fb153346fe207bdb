import type { PartialReset } from '../adapters/index.ts';
import { compileLoop, type Engine, type Executable, type Loop } from '../engine/index.ts';
import {
  input,
  mul,
  type NDArray,
  type Program,
  program,
  sizeOf,
  type Tensor,
  zeros,
} from '../graph/index.ts';
import { random } from '../linalg/index.ts';
import {
  type HostInputs,
  type OptimizerMethod,
  type ParameterInfo,
  pruneMoments,
  type UpdateRule,
} from '../optimizers/index.ts';
import { movables, type Trainable } from './trainables.ts';

/** Applies an optimizer's rules to live arrays. */
export interface Updates {
  /** Optimizer state by `<parameter>/<name>`, live. */
  readonly state: ReadonlyMap<string, NDArray>;
  /** A rule's gradients in its order, out of those of the run's trainables by name. */
  gradientsOf(rule: UpdateRule, all: ReadonlyMap<string, NDArray>): NDArray[];
  /** Moves the parameters of one rule. `gradients` in the rule's order. */
  apply(rule: UpdateRule, gradients: readonly NDArray[], step: StepScalars): Promise<void>;
  readonly rules: readonly UpdateRule[];
  /** Zeroes the state of a parameter. */
  reset(parameter: string): void;
  /** Zeroes a part of a parameter's averages. @param purpose names what is drawn for it */
  prune(parameter: string, part: PartialReset, purpose: string): void;
  /** Frees and allocates state as the rules hold it at step t; `apply` does so by itself, a resumed run before it reads. */
  settle(step: number): void;
}

export interface StepScalars {
  /** η of this update. */
  readonly rate: number;
  /** t, counted from 1. */
  readonly step: number;
  /** t since the rule's state was last zeroed, where it was. */
  readonly own?: number;
  /** Multiplies every gradient: the clipping factor. */
  readonly clip: number;
  /** Takes what the rule has to log; default: nobody listens. */
  readonly report?: (name: string, value: number) => void;
}

interface Compiled {
  /** Not every rule reads every scalar. */
  readonly inputs: readonly string[];
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
  const moved = movables(trainables);
  const arrays = new Map(moved.map((t) => [t.info.name, t.array]));
  const rules = method.rules(
    moved.map((t) => t.info),
    options,
    seed,
  );
  const places = partPlaces(trainables);
  const turning = rules.filter((rule) => rule.idle);
  const state = new Map<string, NDArray>();
  const compiled = new Map<Phase, Promise<Compiled>>();
  const phases = new Map(rules.map((rule) => [rule, phasesOf(rule)]));
  const tools = hostTools(engine);
  const scalars = { rate: zeros([]), step: zeros([]), clip: zeros([]) };
  let settled = 0;

  function settle(step: number): void {
    if (step === settled) return;
    // Rules that never idle hold theirs from the start.
    const changing = settled === 0 ? rules : turning;
    settled = step;
    // All that goes, goes first: the budget holds also while blocks change.
    for (const rule of changing) if (rule.idle?.at(step)) freeState(engine, rule, state);
    for (const rule of changing) if (!rule.idle?.at(step)) holdState(engine, rule, state);
  }
  settle(1);

  return {
    state,
    rules,
    settle,
    gradientsOf: (rule, all) =>
      rule.parameters.map(({ name, shape }) => {
        const place = places.get(name);
        if (!place) return all.get(name)!;
        const whole = all.get(place.whole)!;
        return { ...whole, shape, data: whole.data.subarray(place.from, place.from + sizeOf(shape)) };
      }),
    async apply(rule, gradients, step) {
      settle(step.step);
      const idle = rule.idle?.at(step.step) ?? false;
      const phase = phases.get(rule)![idle ? 'idle' : 'active'];
      if (!phase) return;
      const own = Object.fromEntries(
        Object.keys(phase.state).map((k) => [k, state.get(stateName(rule, k))!]),
      );
      const parameters = rule.parameters.map((p) => arrays.get(p.name)!);
      const { rate, clip, own: since = step.step, report = () => {} } = step;
      if (!idle)
        await rule.prepare?.({
          step: since,
          parameters,
          gradients,
          state: own,
          random: (purpose) => random(seed, `optimizer/${rule.parameters[0].name}/${purpose}`),
          report,
        });
      if (phase.host && engine.device === 'cpu') {
        await phase.host.update({ parameters, gradients, state: own, rate, clip, step: since, ...tools });
        return;
      }
      if (!compiled.has(phase)) compiled.set(phase, compileRule(engine, rule.parameters, phase));
      const ready = await compiled.get(phase)!;
      for (const [key, value] of Object.entries({ rate, clip, step: since }))
        scalars[key as keyof typeof scalars].data[0] = value;
      await move(ready, { ...ruleArrays(parameters, gradients, own), ...scalars });
    },
    reset(parameter) {
      for (const rule of rules)
        if (rule.parameters.some((p) => p.name === parameter))
          for (const name of Object.keys(rule.state)) state.get(stateName(rule, name))?.data.fill(0 as never);
    },
    prune(parameter, part, purpose) {
      for (const rule of rules)
        pruneMoments(rule, parameter, part, {
          array: (name) => state.get(stateName(rule, name)),
          random: (name) => random(seed, `prune/${purpose}/${stateName(rule, name)}`),
        });
    },
  };
}

/** Where parts lie in their tensors, by the parts' names. */
function partPlaces(trainables: readonly Trainable[]) {
  return new Map(
    trainables.flatMap(({ info, parts = [] }) =>
      parts.map((part) => [part.info.name, { whole: info.name, from: part.from }] as const),
    ),
  );
}

/** For rules that work on the host: programs, and arrays that all of them share. */
export function hostTools(engine: Engine): Pick<HostInputs, 'compute' | 'scratch'> {
  const compiled = new Map<Program, Promise<Executable>>();
  const memory = new Map<string, Float32Array>();
  return {
    async compute(p, arrays) {
      if (!compiled.has(p)) compiled.set(p, engine.compile(p));
      const executable = await compiled.get(p)!;
      const feeds = Object.fromEntries(executable.inputs.map(({ name }) => [name, arrays[name]]));
      const into = Object.keys(p.outputs).filter((name) => arrays[name]);
      return executable.run(feeds, Object.fromEntries(into.map((name) => [name, arrays[name]])));
    },
    scratch(name, shape) {
      const size = sizeOf(shape);
      const enough = (memory.get(name)?.length ?? 0) >= size;
      if (!enough) memory.set(name, new Float32Array(size));
      return { shape, dtype: 'float32', data: memory.get(name)!.subarray(0, size) };
    },
  };
}

/** What a rule does in a step: one program. */
type Phase = Pick<UpdateRule, 'state' | 'update' | 'host'>;

function phasesOf(rule: UpdateRule): { active: Phase; idle?: Phase } {
  return { active: rule, idle: rule.idle?.update && { state: {}, update: rule.idle.update } };
}

function freeState(engine: Engine, rule: UpdateRule, state: Map<string, NDArray>): void {
  for (const key of Object.keys(rule.state)) {
    state.delete(stateName(rule, key));
    engine.ledger.free(stateName(rule, key));
  }
}

function holdState(engine: Engine, rule: UpdateRule, state: Map<string, NDArray>): void {
  for (const [key, spec] of Object.entries(rule.state)) {
    const name = stateName(rule, key);
    if (state.has(name)) continue;
    const array = zeros(spec.shape, spec.dtype);
    state.set(name, array);
    engine.ledger.hold('optimizer', name, array.data.byteLength);
  }
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

/** Equal for rules of one method whose updates are one program. */
export function programKey({ parameters, state }: UpdateRule): string {
  return JSON.stringify([parameters.map((p) => p.shape), state]);
}

/** Traces a rule with positional names, so that parameters of one shape share one program. */
async function compileRule(engine: Engine, infos: readonly ParameterInfo[], phase: Phase): Promise<Compiled> {
  const p = ruleProgram(infos, phase);
  const names = { inputs: p.inputs.map((i) => i.name), outputs: Object.keys(p.outputs) };
  const loop = engine.device === 'cpu' ? compileLoop(p) : undefined;
  return loop ? { ...names, loop } : { ...names, executable: await engine.compile(p) };
}

/** One update as a program: `p0`, `g0`, `s:<name>`, `rate`, `step` and `clip` in, `p0` and `s:<name>` out. */
export function ruleProgram(infos: readonly ParameterInfo[], phase: Phase): Program {
  const clip = input('clip', []);
  const parameters = infos.map((p, i) => input(`p${i}`, p.shape));
  const gradients = infos.map((p, i) => mul(input(`g${i}`, p.shape), clip));
  const state = Object.fromEntries(
    Object.entries(phase.state).map(([name, spec]) => [name, input(`s:${name}`, spec.shape, spec.dtype)]),
  );
  const result = phase.update({
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
  // State that only the host changes (a basis) passes through and is no output.
  for (const [name, t] of Object.entries(result.state)) if (t !== state[name]) outputs[`s:${name}`] = t;
  return program(outputs);
}

async function move(compiled: Compiled, arrays: Record<string, NDArray>): Promise<void> {
  const feeds = Object.fromEntries(compiled.inputs.map((name) => [name, arrays[name]]));
  const into = Object.fromEntries(compiled.outputs.map((name) => [name, arrays[name]]));
  // Outputs that share memory with feeds are written in place by a loop; by the engine where it may, else copied.
  if (compiled.loop) compiled.loop.run(feeds, into);
  else await compiled.executable!.run(feeds, into);
}
