import { RankineError } from '../errors.ts';
import type { DType, TypedArray } from '../graph/array.ts';
import { sizeOf } from '../graph/array.ts';
import { type Program, simplify } from '../graph/index.ts';
import { type Tensor, topological } from '../graph/tensor.ts';
import { checkFeeds, checkOutputs, type Feeds } from './feeds.ts';
import type { LoopPlan } from './loop-plan.ts';
import { scriptBody } from './loop-script.ts';
import { simdBody } from './loop-simd.ts';

/** A purely elementwise program as one generated loop that writes its outputs in place. */
export interface Loop {
  /** Runs over all elements. Every output needs its array in `into`, which may be the very array that is fed. */
  run(feeds: Feeds, into: Feeds): void;
}

const LOOP_TYPES: ReadonlySet<DType> = new Set(['float32', 'float64', 'bool']);

/**
 * Lowers a program whose operators are all elementwise, over tensors of one shape and single numbers, to one loop over
 * typed arrays: ONNX Runtime does not fuse such chains and would write every intermediate to memory. Single numbers are
 * computed in float64; elements in float32 where the loop is WebAssembly, else in float64, rounded on store. Undefined
 * for any other program, also for one with integers, whose arithmetic a loop over numbers would not keep.
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
  const inputs = simplified.inputs.map((i) => i.name);
  const plan = { order, inputs, outputs: outputs.map(([, t]) => t), n };
  const bodies = new Map<string, ReturnType<typeof scriptBody>>();
  return {
    run: (feeds, into) => {
      checkFeeds(program.inputs, feeds);
      checkOutputs(program.outputs, into);
      const read = inputs.map((name) => feeds[name].data);
      const written = outputs.map(([name]) => outputArray(name, into));
      const places = written.map((array) => read.indexOf(array));
      const key = places.join();
      if (!bodies.has(key)) bodies.set(key, compileBody({ ...plan, places }));
      bodies.get(key)!(read, written);
    },
  };
}

function compileBody(plan: LoopPlan) {
  return simdBody(plan) ?? scriptBody(plan);
}

function outputArray(name: string, into: Feeds): TypedArray {
  if (!into[name])
    throw new RankineError('engine/missing-output', `The loop has no array for its output "${name}".`);
  return into[name].data;
}
