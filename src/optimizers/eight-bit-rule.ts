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
import type { AdamForm } from './adam-forms.ts';
import { inEightBits } from './eight-bit.ts';
import { adam8 } from './eight-bit-host.ts';
import { suffixed } from './factor-pairs.ts';
import type { HostInputs, UpdateInputs, UpdateOutputs, UpdateRule } from './optimizer.ts';
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

/**
 * One program; with an Adam of 8 bits, on a CPU two, between which the kernel does its work. The directions that the
 * kernel makes, and what it makes them of, are arrays of the host meanwhile.
 */
export function ruleAround(around: AroundAdams, adams: Readonly<Record<string, InnerAdam>>): UpdateRule {
  const [parameter] = around.parameters;
  const all = Object.entries(adams);
  const narrow = all.filter(([, adam]) => adam.bits === 8);
  const moments = all.map(([, adam]) => pieceOf(adam).state({ ...parameter, shape: adam.shape }));
  const state = { ...Object.assign({}, ...moments), ...around.state };
  return {
    parameters: around.parameters,
    state,
    update: (inputs) => completed(around, inputs, around.before(inputs), all),
    ...(around.prepare && { prepare: around.prepare }),
    ...(narrow.length > 0 && {
      host: onHost(around, state, all),
      hostBytes: 4 * all.reduce((n, [, { shape, bits }]) => n + sizeOf(shape) * (bits === 8 ? 2 : 1), 0),
    }),
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

function onHost(
  around: AroundAdams,
  specs: UpdateRule['state'],
  adams: readonly Named[],
): (inputs: HostInputs) => Promise<void> {
  const narrow = adams.filter(([, { bits }]) => bits === 8);
  let programs: ReturnType<typeof trace> | undefined;
  return async ({ parameters, gradients, state, rate, step, clip, compute }) => {
    programs ??= trace(around, specs, adams);
    const arrays: Record<string, NDArray> = {};
    for (const [name, value] of Object.entries({ rate, step, clip })) arrays[name] = single(value);
    for (const [i, array] of parameters.entries()) arrays[`p${i}`] = array;
    for (const [i, array] of gradients.entries()) arrays[`g${i}`] = array;
    for (const [name, array] of Object.entries(state)) arrays[`s:${name}`] = array;
    Object.assign(arrays, await compute(programs.before, arrays));
    for (const [name, { form, shape, suffix = '' }] of narrow) {
      const direction = zeros(shape);
      const { step: size, ...own } = form.at(step);
      const moments = Object.fromEntries(STATES.map((s) => [s, state[`${s}${suffix}`]]));
      // From zero, a step against the direction.
      adam8(direction, arrays[`of:${name}`], moments, { ...own, clip: 1, step: -size, decay: 0 });
      arrays[`to:${name}`] = direction;
    }
    await compute(programs.after, arrays);
  };
}

const STATES = ['m', 'mScale', 'v', 'vScale'] as const;

function single(value: number): NDArray {
  const array = zeros([]);
  array.data[0] = value;
  return array;
}

/** Parameters are `p0`, …, gradients `g0`, …, states `s:<name>`, what an Adam averages `of:<name>`, its direction `to:<name>`. */
function trace(
  around: AroundAdams,
  specs: UpdateRule['state'],
  adams: readonly Named[],
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
  const narrow = adams.filter(([, { bits }]) => bits === 8);
  const wide = adams.filter(([, { bits }]) => bits === 32);
  // Scaling what is averaged costs less than scaling the gradients.
  const before = around.before({ ...inputs, gradients: raw });
  const after = completed(around, inputs, arrays('of', adams), wide, arrays('to', narrow));
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
