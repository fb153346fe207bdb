import { RankineError } from '../errors.ts';
import type { DType, TypedArray } from '../graph/array.ts';
import { sizeOf } from '../graph/array.ts';
import { type Program, simplify } from '../graph/index.ts';
import { type Tensor, topological } from '../graph/tensor.ts';
import { checkFeeds, checkOutputs, type Feeds } from './feeds.ts';

/** A purely elementwise program as one generated loop that writes its outputs in place. */
export interface Loop {
  /** Runs over all elements. Every output needs its array in `into`, which may be the very array that is fed. */
  run(feeds: Feeds, into: Feeds): void;
}

const LOOP_TYPES: ReadonlySet<DType> = new Set(['float32', 'float64', 'bool']);

const compiled = new Map<string, Body>();

/**
 * Lowers a program whose operators are all elementwise, over tensors of one shape and single numbers, to one loop over
 * typed arrays: ONNX Runtime does not fuse such chains and would write every intermediate to memory. Arithmetic is
 * float64 inside, rounded on store. Undefined for any other program, also for one with integers, whose arithmetic a loop
 * over numbers would not keep.
 */
export function compileLoop(program: Program): Loop | undefined {
  const simplified = simplify(program);
  const outputs = Object.entries(simplified.outputs);
  const shape = outputs[0][1].shape;
  const n = sizeOf(shape);
  const order = topological(outputs.map(([, t]) => t));
  const isFull = (t: Tensor) => sizeOf(t.shape) === n && t.shape.length === shape.length;
  if (outputs.some(([, t]) => !isFull(t))) return undefined;
  for (const node of order) {
    if (node.op.name !== 'input' && !(node.op.elementwise && node.op.expression)) return undefined;
    if (!node.outputs.every((t) => LOOP_TYPES.has(t.dtype) && (isFull(t) || sizeOf(t.shape) === 1)))
      return undefined;
  }
  const inputs = simplified.inputs;
  const names = inputs.map((i) => i.name);
  const body = (places: readonly number[]) => compileBody(loopSource(order, outputs, names, places, n));
  return {
    run: (feeds, into) => {
      checkFeeds(program.inputs, feeds);
      checkOutputs(program.outputs, into);
      const read = inputs.map((i) => feeds[i.name].data);
      const written = outputs.map(([name]) => outputArray(name, into));
      body(inPlace(read, written))(read, written, n);
    },
  };
}

type Body = (feeds: TypedArray[], into: TypedArray[], n: number) => void;

function compileBody(source: string): Body {
  let body = compiled.get(source);
  if (!body) {
    body = new Function('f', 'o', 'n', source) as Body;
    compiled.set(source, body);
  }
  return body;
}

/** For each output the input whose very array it is written to, or −1. */
function inPlace(read: readonly TypedArray[], written: readonly TypedArray[]): number[] {
  return written.map((array) => read.indexOf(array));
}

function outputArray(name: string, into: Feeds): TypedArray {
  if (!into[name])
    throw new RankineError('engine/missing-output', `The loop has no array for its output "${name}".`);
  return into[name].data;
}

function loopSource(
  order: ReturnType<typeof topological>,
  outputs: readonly (readonly [string, Tensor])[],
  inputNames: readonly string[],
  places: readonly number[],
  n: number,
): string {
  const names = new Map<Tensor, string>();
  const before: string[] = [];
  const inside: string[] = [];
  let counter = 0;
  inputNames.forEach((_, i) => {
    before.push(`const f${i} = f[${i}];`);
  });
  // An array that is read and written has one name: each more costs the loop a quarter of its speed.
  const target = (i: number) => (places[i] < 0 ? `o${i}` : `f${places[i]}`);
  outputs.forEach((_, i) => {
    if (places[i] < 0) before.push(`const o${i} = o[${i}];`);
  });
  for (const node of order) {
    const [t] = node.outputs;
    const name = `v${counter++}`;
    names.set(t, name);
    const single = sizeOf(t.shape) === 1 && n !== 1;
    const expression =
      node.op.name === 'input'
        ? `f${inputNames.indexOf(String(node.attributes.name))}[${single ? 0 : 'i'}]`
        : node.op.expression!(
            node.inputs.map((x) => names.get(x)!),
            node.attributes,
          );
    (single ? before : inside).push(`const ${name} = ${expression};`);
  }
  const stores = outputs.map(([, t], i) => `${target(i)}[i] = ${names.get(t)};`);
  return `${before.join('\n')}\nfor (let i = 0; i < n; i++) {\n${inside.join('\n')}\n${stores.join('\n')}\n}`;
}
