import type { Engine, Feeds } from '../engine/index.ts';
import { RankineError } from '../errors.ts';
import {
  gather,
  input,
  linear,
  type NDArray,
  type Program,
  program,
  reshape,
  type Tensor,
  zeros,
} from '../graph/index.ts';
import type { Architecture } from './architecture.ts';
import { type CacheHook, type ContextOptions, traceContext } from './context.ts';
import type { DecodeCache } from './decode-cache.ts';

/** Shape of one program of generation. */
export interface StepShape {
  rows: number;
  /** New positions of a row. */
  length: number;
  /** Cache slots of a row. */
  capacity: number;
}

/** A compiled step with the arrays that it reads and writes; they are reused, for binding new ones costs time. */
export interface DecodeStep {
  readonly length: number;
  /** [rows, length], int64. */
  readonly ids: BigInt64Array;
  readonly positions: BigInt64Array;
  /** Which of its new positions a row wants scores of, as an index into the rows · length positions. */
  readonly last: BigInt64Array;
  /** Scores of the next token, [rows, vocabulary]. */
  readonly logits: Float32Array;
  /** New keys and values by block, [rows, kvHeads, length, headDim]. */
  readonly keys: readonly NDArray[];
  readonly values: readonly NDArray[];
  run(): Promise<void>;
}

export type StepOptions = Pick<ContextOptions, 'hooks' | 'substitute'>;

/**
 * Traces one step of generation. Inputs: parameters under their checkpoint names, `ids` and `positions` int64 [B, T],
 * `last` int64 [B], `past.<block>.k` and `.v` [B, kvHeads, capacity, headDim], `past.mask` [B, 1, 1, capacity].
 * Outputs: `logits` [B, V] at the `last` positions only, `present.<block>.k` and `.v` [B, kvHeads, T, headDim].
 */
export function traceStep(architecture: Architecture, shape: StepShape, options: StepOptions = {}): Program {
  const { rows, length, capacity } = shape;
  const { kvHeads, headDim } = requireCache(architecture);
  const slots = [rows, kvHeads, capacity, headDim];
  const pasts = Array.from({ length: architecture.blocks }, (_, block) => ({
    keys: input(`past.${block}.k`, slots),
    values: input(`past.${block}.v`, slots),
  }));
  const presents: Record<string, Tensor> = {};
  const cache: CacheHook = {
    past: (block) => pasts[block],
    pastMask: input('past.mask', [rows, 1, 1, capacity]),
    present(block, keys, values) {
      presents[`present.${block}.k`] = keys;
      presents[`present.${block}.v`] = values;
    },
  };
  const c = traceContext(architecture, { ...options, cache });
  const batch = {
    ids: input('ids', [rows, length], 'int64'),
    positions: input('positions', [rows, length], 'int64'),
  };
  let x = architecture.embed(c, batch);
  for (let i = 0; i < architecture.blocks; i++) x = architecture.block(c, i, x, batch);
  const width = x.shape[2];
  const wanted = gather(reshape(x, [rows * length, width]), input('last', [rows], 'int64'));
  const head = architecture.head(c, reshape(wanted, [rows, 1, width]), batch);
  if (head.kind !== 'tokens' && head.kind !== 'logits') throw cannotGenerate(architecture);
  const logits = head.kind === 'logits' ? head.logits : linear(head.hidden, head.weight, head.bias);
  return program({ logits: reshape(logits, [rows, logits.shape[2]]), ...presents });
}

/** @throws RankineError `models/cannot-generate` where the architecture has no cache or no vocabulary head */
export function requireCache(architecture: Architecture): { kvHeads: number; headDim: number } {
  if (!architecture.cache || architecture.task !== 'language-modelling') throw cannotGenerate(architecture);
  return architecture.cache;
}

function cannotGenerate(architecture: Architecture): RankineError {
  return new RankineError(
    'models/cannot-generate',
    `A ${architecture.type} model for ${architecture.task} cannot generate text.`,
    'Open a causal language model (gpt2, gpt_neo, the llama family) for language-modelling.',
  );
}

/** Compiles a step and binds the cache and all tensors to it. */
export async function compileStep(
  engine: Engine,
  architecture: Architecture,
  cache: DecodeCache,
  length: number,
  tensors: Feeds,
  options: StepOptions,
): Promise<DecodeStep> {
  const { rows, capacity } = cache;
  const traced = traceStep(architecture, { rows, length, capacity }, options);
  const executable = await engine.compile(traced);
  const own: Record<string, NDArray> = {
    ids: zeros([rows, length], 'int64'),
    positions: zeros([rows, length], 'int64'),
    last: zeros([rows], 'int64'),
    'past.mask': cache.mask,
  };
  for (let i = 0; i < architecture.blocks; i++) {
    own[`past.${i}.k`] = cache.keys[i];
    own[`past.${i}.v`] = cache.values[i];
  }
  const feeds: Record<string, NDArray> = {};
  for (const { name } of executable.inputs) feeds[name] = own[name] ?? tensors[name];
  const into: Record<string, NDArray> = {};
  for (const [name, { shape }] of Object.entries(traced.outputs)) into[name] = zeros(shape);
  const present = (kind: 'k' | 'v') => cache.keys.map((_, i) => into[`present.${i}.${kind}`]);
  return {
    length,
    ids: own.ids.data as BigInt64Array,
    positions: own.positions.data as BigInt64Array,
    last: own.last.data as BigInt64Array,
    logits: into.logits.data as Float32Array,
    keys: present('k'),
    values: present('v'),
    run: async () => {
      await executable.run(feeds, into);
    },
  };
}
