import { compileLoop } from '../engine/index.ts';
import {
  array,
  input,
  mul,
  type NDArray,
  type Program,
  program,
  sizeOf,
  type Tensor,
} from '../graph/index.ts';
import type { AdamForm } from './adam-forms.ts';
import { inEightBits } from './eight-bit.ts';
import { adam8 } from './eight-bit-host.ts';
import { suffixed } from './factor-pairs.ts';
import type { UpdateInputs, UpdateOutputs, UpdateRule } from './optimizer.ts';
import type { Piece } from './pieces.ts';

/** An Adam inside a rule. */
export interface InnerAdam {
  readonly form: AdamForm;
  /** Of the array that it averages. */
  readonly shape: readonly number[];
  readonly bits: 8 | 32;
  /** A letter behind the names of its states, where the rule has more than one Adam. */
  readonly suffix?: string;
}

type Tensors = Readonly<Record<string, Tensor>>;

/** A rule around Adams: what they are given, and what becomes of their directions. Arrays go by the Adams' names. */
export interface AroundAdams extends Pick<UpdateRule, 'parameters' | 'prepare'> {
  /** State beside the moments. */
  readonly state: UpdateRule['state'];
  /** What each Adam averages; linear in the gradients, so that clipping may come after it. */
  before(inputs: UpdateInputs): Tensors;
  /**
   * @param averaged what `before` gave
   * @param directions what the Adams made of it
   */
  after(inputs: UpdateInputs, averaged: Tensors, directions: Tensors): UpdateOutputs;
}

/** From this many elements on, two programs and a loop between them are faster than one program. */
const LARGE = 65_536;

/**
 * One program; on a CPU, where an Adam is large or has 8 bits, two, between which such Adams do their work in one pass
 * each: ONNX Runtime does not fuse their operators. Their directions, and what these are made of, are arrays of the host
 * meanwhile.
 */
export function ruleAround(around: AroundAdams, adams: Readonly<Record<string, InnerAdam>>): UpdateRule {
  const [parameter] = around.parameters;
  const all = Object.entries(adams);
  const moments = all.map(([, adam]) => pieceOf(adam).state({ ...parameter, shape: adam.shape }));
  const state = { ...Object.assign({}, ...moments), ...around.state };
  const apart = all.filter(([, { bits, shape }]) => bits === 8 || sizeOf(shape) >= LARGE);
  return {
    parameters: around.parameters,
    state,
    update: (inputs) => completed(around, inputs, around.before(inputs), all),
    ...(around.prepare && { prepare: around.prepare }),
    ...(apart.length > 0 && { host: inStages(around, state, all, apart) }),
  };
}

function pieceOf({ form, bits, suffix }: InnerAdam): Piece {
  const piece = bits === 8 ? inEightBits(form.piece, { m: true, v: false }) : form.piece;
  return suffix === undefined ? piece : suffixed(piece, suffix);
}

type Named = readonly [string, InnerAdam];

/** @param given directions that are there already */
function completed(
  around: AroundAdams,
  inputs: UpdateInputs,
  averaged: Tensors,
  adams: readonly Named[],
  given: Tensors = {},
): UpdateOutputs {
  const { parameters, state, rate, step } = inputs;
  const directions: Record<string, Tensor> = { ...given };
  const moments: Record<string, Tensor> = {};
  for (const [name, adam] of adams) {
    const result = pieceOf(adam).apply(averaged[name], state, { parameter: parameters[0], rate, step });
    directions[name] = result.direction;
    Object.assign(moments, result.state);
  }
  const moved = around.after(inputs, averaged, directions);
  return { parameters: moved.parameters, state: { ...moments, ...moved.state } };
}

/** @param apart Adams between the two programs */
function inStages(
  around: AroundAdams,
  specs: UpdateRule['state'],
  adams: readonly Named[],
  apart: readonly Named[],
): NonNullable<UpdateRule['host']> {
  let traced: ReturnType<typeof trace> | undefined;
  const programs = () => {
    traced ??= trace(around, specs, adams, apart);
    return traced;
  };
  const movers = apart.map(([name, adam]) => [name, adam.shape, moverOf(adam)] as const);
  const elements = [...adams, ...apart].reduce((n, [, { shape }]) => n + sizeOf(shape), 0);
  return {
    programs: () => Object.values(programs()),
    bytes: 4 * elements,
    async update({ parameters, gradients, state, rate, step, clip, compute, scratch }) {
      const { before, after } = programs();
      const arrays: Record<string, NDArray> = {};
      for (const [name, value] of Object.entries({ rate, step, clip })) arrays[name] = single(value);
      for (const [i, array] of parameters.entries()) arrays[`p${i}`] = array;
      for (const [i, array] of gradients.entries()) arrays[`g${i}`] = array;
      for (const [name, array] of Object.entries(state)) arrays[`s:${name}`] = array;
      for (const [name, { shape }] of Object.entries(before.outputs)) arrays[name] = scratch(name, shape);
      await compute(before, arrays);
      for (const [name, shape, move] of movers) {
        arrays[`to:${name}`] = scratch(`to:${name}`, shape);
        move(arrays[`of:${name}`], state, step, arrays[`to:${name}`]);
      }
      await compute(after, arrays);
    },
  };
}

/** Averages, and writes the direction into the last array. */
type Mover = (
  averaged: NDArray,
  state: Readonly<Record<string, NDArray>>,
  step: number,
  direction: NDArray,
) => void;

function moverOf(adam: InnerAdam): Mover {
  return adam.bits === 8 ? narrowMover(adam) : wideMover(adam);
}

const STATES = ['m', 'mScale', 'v', 'vScale'] as const;

function narrowMover({ form, suffix = '' }: InnerAdam): Mover {
  return (averaged, state, step, direction) => {
    const { step: size, ...own } = form.at(step);
    const moments = Object.fromEntries(STATES.map((s) => [s, state[`${s}${suffix}`]]));
    // From zero, a step against the direction.
    direction.data.fill(0 as never);
    adam8(direction, averaged, moments, { ...own, clip: 1, step: -size, decay: 0 });
  };
}

/** One loop over the moments, compiled when it is first wanted. */
function wideMover(adam: InnerAdam): Mover {
  const piece = pieceOf(adam);
  const specs = piece.state({ name: '', role: 'matrix', shape: adam.shape });
  const compile = () => {
    const averaged = input('averaged', adam.shape);
    const state = mapped(specs, ({ shape, dtype }, name) => input(name, shape, dtype));
    const step = input('step', []);
    const result = piece.apply(averaged, state, { parameter: averaged, rate: step, step });
    const p = program({ direction: result.direction, ...result.state });
    const loop = compileLoop(p);
    if (!loop) throw new Error('internal: an Adam is no loop');
    return { loop, counts: p.inputs.some(({ name }) => name === 'step') };
  };
  let compiled: ReturnType<typeof compile> | undefined;
  return (averaged, state, step, direction) => {
    compiled ??= compile();
    const { loop, counts } = compiled;
    const moments = Object.fromEntries(Object.keys(specs).map((name) => [name, state[name]]));
    const feeds = { ...moments, averaged, ...(counts && { step: single(step) }) };
    loop.run(feeds, { ...moments, direction });
  };
}

function single(value: number): NDArray {
  return array([value], []);
}

/** Parameters are `p0`, …, gradients `g0`, …, states `s:<name>`, what an Adam averages `of:<name>`, its direction `to:<name>`. */
function trace(
  around: AroundAdams,
  specs: UpdateRule['state'],
  adams: readonly Named[],
  apart: readonly Named[],
): { before: Program; after: Program } {
  const clip = input('clip', []);
  const raw = around.parameters.map(({ shape }, i) => input(`g${i}`, shape));
  const inputs: UpdateInputs = {
    parameters: around.parameters.map(({ shape }, i) => input(`p${i}`, shape)),
    gradients: raw.map((g) => mul(g, clip)),
    state: mapped(specs, ({ shape, dtype }, name) => input(`s:${name}`, shape, dtype)),
    rate: input('rate', []),
    step: input('step', []),
  };
  const arrays = (letters: string, list: readonly Named[]) =>
    mapped(Object.fromEntries(list), ({ shape }, name) => input(`${letters}:${name}`, shape));
  const within = adams.filter((adam) => !apart.includes(adam));
  // Scaling what is averaged costs less than scaling the gradients.
  const before = around.before({ ...inputs, gradients: raw });
  const after = completed(around, inputs, arrays('of', adams), within, arrays('to', apart));
  return {
    before: program(
      renamed(
        'of:',
        mapped(before, (x) => mul(x, clip)),
      ),
    ),
    after: program({
      ...Object.fromEntries(after.parameters.map((p, i) => [`p${i}`, p])),
      ...renamed('s:', after.state),
    }),
  };
}

function mapped<T, R>(record: Readonly<Record<string, T>>, make: (value: T, name: string) => R) {
  return Object.fromEntries(Object.entries(record).map(([name, value]) => [name, make(value, name)]));
}

function renamed(before: string, record: Tensors): Record<string, Tensor> {
  return Object.fromEntries(Object.entries(record).map(([name, value]) => [`${before}${name}`, value]));
}
