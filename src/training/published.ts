import { sizeOf } from '../graph/index.ts';
import type { Architecture } from '../models/index.ts';
import { architectureOf } from '../models/index.ts';
import { modelConfig } from './base-model.ts';

/** A figure of a paper about memory, and what comes out when its formula is evaluated on the shape. */
export interface PublishedFigure {
  /** The claim in the abstract's words. */
  readonly claim: string;
  readonly paper: string;
  /** As published: a share that is saved, or bytes that suffice. */
  readonly published: number;
  readonly unit: 'saved' | 'bytes';
  readonly readings: readonly Reading[];
}

/** One way of counting. */
export interface Reading {
  readonly assumption: string;
  /** Bytes that the method takes. */
  readonly formula: string;
  readonly bytes: number;
  /** Bytes of what it is compared with, and their formula; absent where the claim compares with nothing. */
  readonly baseline?: { readonly formula: string; readonly bytes: number };
  /** In the unit of the figure. */
  readonly value: number;
}

/** Bytes of a number in bfloat16, of a code of 8 bits, and what a block's scale adds to a code (baselines: 4 / 256). */
const BF16 = 2;
const CODE = 1;
const CODE_AND_SCALE = 1 + 4 / 256;
const FLOAT32 = 4;

/** Rank of all published 7B runs. */
const RANK = 1024;
/** Share of SLTrain's sparse numbers at 7B. */
const SPARSE = 0.05;
/** Tokens in the batch with which GaLore states 24 GB. */
const TOKENS = 256;

/** Numbers that the formulas are made of, for the shape in which the papers state their figures. */
interface Counts {
  /** N: all weights. */
  readonly weights: number;
  /** E: weights outside the block matrices, which plain Adam moves. */
  readonly others: number;
  /** Σ 2 max(m, n) r: moments of the projected gradients. */
  readonly moments: number;
  /** Σ min(m, n) r: bases. */
  readonly bases: number;
  /** Σ r (m + n): factors of the same rank. */
  readonly factors: number;
  /** Σ ⌊δ m n⌋. */
  readonly sparse: number;
  /** Σ m: magnitudes. */
  readonly rows: number;
  /** Weights of the largest tensor. */
  readonly largest: number;
  readonly blocks: number;
  readonly width: number;
}

/**
 * The memory figures in the abstracts of GaLore, SLTrain and GradNormLoRP, each with its formula evaluated on LLaMA 7B.
 * Where more than one way of counting is plausible, all are shown.
 */
export async function publishedFigures(): Promise<readonly PublishedFigure[]> {
  const config = await modelConfig({ path: 'llama-7b', init: 'random' });
  const c = countsOf(architectureOf(config));
  return [galoreState(c), galoreState8(c), galoreTotal(c), sltrainTotal(c), gradnormState8(c)];
}

function countsOf({ parameters, layers, blocks }: Architecture): Counts {
  const sizes = [...parameters.values()].map(({ shape }) => sizeOf(shape));
  const matrices = layers.filter((l) => l.kind === 'linear' && l.block !== undefined);
  const sum = (of: (m: number, n: number) => number) =>
    matrices.reduce((total, l) => total + of(l.out, l.in), 0);
  const weights = sizes.reduce((a, b) => a + b);
  return {
    weights,
    others: weights - sum((m, n) => m * n),
    moments: sum((m, n) => 2 * Math.max(m, n) * RANK),
    bases: sum((m, n) => Math.min(m, n) * RANK),
    factors: sum((m, n) => (m + n) * RANK),
    sparse: sum((m, n) => Math.floor(SPARSE * m * n)),
    rows: sum((m) => m),
    largest: Math.max(...sizes),
    blocks,
    width: Math.min(...matrices.map((l) => l.in)),
  };
}

const GALORE = 'Zhao et al., ICML 2024, arXiv 2403.03507';

function saved(
  assumption: string,
  [formula, bytes]: [string, number],
  baseline: readonly [string, number],
): Reading {
  return {
    assumption,
    formula,
    bytes,
    baseline: { formula: baseline[0], bytes: baseline[1] },
    value: 1 - bytes / baseline[1],
  };
}

const adamState = (c: Counts): [string, number] => ['2 N · 2 B', 2 * c.weights * BF16];

function galoreState(c: Counts): PublishedFigure {
  return {
    claim: 'GaLore reduces memory usage by up to 65.5 % in optimizer states',
    paper: GALORE,
    published: 0.655,
    unit: 'saved',
    readings: [
      saved(
        'all state in bfloat16, embedding and head with plain Adam',
        ['Σ (2 max(m, n) r + min(m, n) r) · 2 B + 2 E · 2 B', (c.moments + c.bases + 2 * c.others) * BF16],
        adamState(c),
      ),
    ],
  };
}

function galoreState8(c: Counts): PublishedFigure {
  return {
    claim: '8-bit GaLore further reduces optimizer memory by up to 82.5 %',
    paper: GALORE,
    published: 0.825,
    unit: 'saved',
    readings: [
      saved(
        'moments in 8 bits with a scale for 256, bases in bfloat16 as the released code holds them',
        ['(Σ 2 max(m, n) r + 2 E) · 1.016 B + Σ min(m, n) r · 2 B', galore8Bytes(c)],
        adamState(c),
      ),
      saved(
        'every number one byte, bases too: what the published figure needs',
        ['(Σ (2 max(m, n) r + min(m, n) r) + 2 E) · 1 B', (c.moments + c.bases + 2 * c.others) * CODE],
        adamState(c),
      ),
    ],
  };
}

function galore8Bytes(c: Counts): number {
  return (c.moments + 2 * c.others) * CODE_AND_SCALE + c.bases * BF16;
}

/** Activations of a transformer in 16 bits, kept for the backward: s (34 h + 5 a s) bytes a block. */
function activationBytes(c: Counts): number {
  const heads = c.width / 128;
  return c.blocks * TOKENS * (34 * c.width + 5 * heads * TOKENS);
}

function galoreTotal(c: Counts): PublishedFigure {
  const bytes = c.weights * BF16 + galore8Bytes(c) + c.largest * BF16 + activationBytes(c);
  return {
    claim: 'pre-training a 7B model on GPUs with 24 GB without checkpointing or offloading',
    paper: GALORE,
    published: 24e9,
    unit: 'bytes',
    readings: [
      {
        assumption:
          'bfloat16 weights, 8-bit GaLore, one tensor’s gradient at a time, 256 tokens; activations by Korthikanti et al. (arXiv 2205.05198)',
        formula: 'N · 2 B + 8-bit state + max mn · 2 B + L s (34 h + 5 a s) B',
        bytes,
        value: bytes,
      },
    ],
  };
}

function sltrainTotal(c: Counts): PublishedFigure {
  const numbers = c.factors + c.sparse + c.others;
  const baseline: [string, number] = ['N · (2 + 2 + 4) B', c.weights * 4 * BF16];
  const total = (index: number) =>
    numbers * BF16 + c.sparse * index + 2 * numbers * CODE_AND_SCALE + c.largest * BF16;
  const formula = (index: number) => `P · 2 B + K · ${index} B + 2 P · 1.016 B + max mn · 2 B`;
  const common = 'P = Σ r (m + n) + K + E, K = Σ ⌊δ m n⌋; 8-bit Adam, one tensor’s gradient at a time';
  return {
    claim:
      'SLTrain reduces memory by up to 73 % when pretraining LLaMA 7B, with quantization and per-layer updates',
    paper: 'Han et al., NeurIPS 2024, arXiv 2406.02214',
    published: 0.73,
    unit: 'saved',
    readings: [
      saved(`${common}; indices as int64, as the released code holds them`, [formula(8), total(8)], baseline),
      saved(
        `${common}; indices as int32, which suffice for these matrices`,
        [formula(4), total(4)],
        baseline,
      ),
    ],
  };
}

function gradnormState8(c: Counts): PublishedFigure {
  const bytes = galore8Bytes(c) + 2 * c.rows * CODE_AND_SCALE;
  const own: [string, number] = ['(Σ (2 max(m, n) r + 2 m) + 2 E) · 1.016 B + Σ min(m, n) r · 2 B', bytes];
  return {
    claim: '8-bit GradNormLoRP reduces optimizer memory usage by up to 89.5 %',
    paper: 'Huang et al., AAAI 2025, arXiv 2412.19616',
    published: 0.895,
    unit: 'saved',
    readings: [
      saved('against Adam in bfloat16, as GaLore compares', own, adamState(c)),
      saved('against Adam in float32: what the published figure needs', own, [
        '2 N · 4 B',
        2 * c.weights * FLOAT32,
      ]),
    ],
  };
}
