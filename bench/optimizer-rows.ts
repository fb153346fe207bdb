import { readFileSync } from 'node:fs';
import type { ModelConfig } from '../src/models/index.ts';
import { parseRecipe, type Recipe, type RecipeInput } from '../src/training/index.ts';
import { cases } from './cases.ts';

/** A model that the methods are measured on. */
export interface OptimizerModel {
  readonly title: string;
  readonly config: ModelConfig;
  readonly batch: readonly [rows: number, length: number];
  /** r of GaLore and its relatives. */
  readonly rank: number;
  /** r of the weight forms. */
  readonly formRank: number;
  /** Modules that train beside a weight form: all that it does not replace. */
  readonly beside: readonly string[];
  /** Ordinary updates that are timed in a round. */
  readonly steps: number;
  /** A refresh by decompositions takes more than a minute: only GaLore's is timed, and counts for those that do the same. */
  readonly shared: boolean;
}

function shippedConfig(name: string): ModelConfig {
  return JSON.parse(readFileSync(new URL(`../configs/${name}/config.json`, import.meta.url), 'utf8'));
}

const llama = { beside: ['embed_tokens', 'lm_head', 'norm', 'input_layernorm', 'post_attention_layernorm'] };
const gpt2 = cases['gpt2-full'];

export const optimizerModels: Readonly<Record<string, OptimizerModel>> = {
  '60m': {
    ...llama,
    title: 'LLaMA 60M',
    config: shippedConfig('llama-60m'),
    batch: [8, 256],
    rank: 128,
    formRank: 128,
    steps: 2,
    shared: false,
  },
  gpt2: {
    title: 'GPT-2 small',
    config: gpt2.config,
    batch: gpt2.batch,
    rank: 192,
    formRank: 128,
    beside: ['wte', 'wpe', 'ln_1', 'ln_2', 'ln_f'],
    steps: 2,
    shared: true,
  },
  // Seconds a row, to try the table itself.
  twin: {
    ...llama,
    title: 'The twin of the LLaMA shapes',
    config: shippedConfig('llama-twin'),
    batch: [2, 64],
    rank: 32,
    formRank: 32,
    steps: 1,
    shared: false,
  },
};

/** What happens every so often: a new basis, another block's turn. */
export interface Refresh {
  /** Updates from one to the next. */
  readonly every: number;
  /** True where the first update has one. */
  readonly first: boolean;
}

/** One row of the optimizers' table. */
export interface OptimizerRow {
  readonly name: string;
  /** What the command line calls it: optimizer or weight form. */
  readonly method: string;
  readonly recipe: Partial<Pick<RecipeInput, 'adapter' | 'optimizer' | 'execution'>>;
  /** Row that it is measured beside. */
  readonly beside: 'adamw' | 'lora';
  /** From the most frequent on; a later kind includes the earlier ones. */
  readonly refreshes: readonly Refresh[];
  /** Blocks take turns, which a refresh begins: every one is measured, and an update is the mean over them. */
  readonly turns?: true;
  /** PyTorch has an implementation of the method. */
  readonly pytorch?: true;
  /** Row whose PyTorch is the measure for this one too. */
  readonly pytorchOf?: string;
  /** Row whose refresh does the same work. */
  readonly refreshOf?: string;
}

const GAP = 200;
const every = (gap: number): Refresh[] => [{ every: gap, first: true }];

/** Trains all weights. */
function optimizer(name: string, options: object = {}, more: Partial<OptimizerRow> = {}): OptimizerRow {
  const recipe = { optimizer: { method: name, ...options } };
  return { name, method: name, recipe, beside: 'adamw', refreshes: [], ...more };
}

function blockwise(row: OptimizerRow): OptimizerRow {
  const recipe = { ...row.recipe, execution: 'blockwise' as const };
  return { ...row, name: `${row.name}, blockwise`, recipe, pytorch: undefined, pytorchOf: row.name };
}

/** A weight form that trains from scratch, everything that it leaves alone beside it. */
function form(name: string, model: OptimizerModel, options: object = {}): OptimizerRow {
  const adapter = {
    method: name,
    rank: model.formRank,
    bias: 'all',
    modulesToSave: model.beside,
    ...options,
  };
  return { name, method: name, recipe: { adapter }, beside: 'adamw', refreshes: [] };
}

/** An optimizer of LoRA's factors, beside LoRA with AdamW. */
function ofFactors(name: string, method: string, options: object = {}, alpha = 16): OptimizerRow {
  const adapter = { method: 'lora', rank: 8, alpha };
  const recipe = { adapter, optimizer: { method, ...options } };
  return { name, method, recipe, beside: 'lora', refreshes: [] };
}

/** SST draws other vectors every 200 updates, and decomposes anew when each had its turn about once. */
function sstRow(model: OptimizerModel): OptimizerRow {
  const width = Number(model.config.hidden_size ?? model.config.n_embd);
  const round = GAP * Math.ceil(width / model.formRank);
  const kinds = model.shared ? [GAP] : [GAP, round];
  return { ...form('sst', model), refreshes: kinds.map((gap) => ({ every: gap, first: false })) };
}

/** All rows for a model; those that others refer to come first. */
export function optimizerRows(model: OptimizerModel): OptimizerRow[] {
  const { rank, shared } = model;
  const adamw = optimizer('adamw', {}, { pytorch: true });
  const based = { refreshes: every(GAP) };
  const galore = optimizer('galore', { rank, gap: GAP }, { ...based, pytorch: true });
  const like = shared ? { refreshes: [], refreshOf: 'galore' } : based;
  const badam = optimizer('badam', {}, { refreshes: every(50), turns: true });
  const sltrain = form('sltrain', model, { density: 0.03 });
  const narrowSltrain = {
    ...sltrain,
    name: 'sltrain, adam-8bit',
    recipe: { ...sltrain.recipe, optimizer: 'adam-8bit' },
  };
  return [
    adamw,
    blockwise(adamw),
    optimizer('adam-8bit', {}, { pytorch: true }),
    galore,
    blockwise(galore),
    optimizer('galore', { rank, gap: GAP, bits: 8 }, { ...like, name: 'galore, 8-bit' }),
    optimizer('fira', { rank, gap: GAP }, like),
    optimizer('frugal', { density: 0.25, gap: GAP }, { ...based, name: 'frugal, density 0.25' }),
    optimizer('frugal', { density: 0, gap: GAP }, { name: 'frugal, density 0' }),
    badam,
    blockwise(badam),
    optimizer('adafactor', {}, { pytorch: true }),
    optimizer('lion', {}, { pytorch: true }),
    optimizer('apollo', { rank, gap: GAP }, based),
    optimizer('apollo-mini', { gap: GAP }, based),
    optimizer('gradnormlorp', { rank, gap: GAP }, like),
    sltrain,
    narrowSltrain,
    blockwise(narrowSltrain),
    form('low-rank', model),
    sstRow(model),
    { ...ofFactors('lora', 'adamw'), method: 'lora', beside: 'adamw' },
    ofFactors('lora-pro, full', 'lora-pro', { moments: 'full' }),
    ofFactors('lora-pro, light', 'lora-pro', { moments: 'light' }),
    ofFactors('allora', 'allora', {}, 8),
  ];
}

/** The row's run on a model, with its defaults. */
export function rowRecipe(row: OptimizerRow, { batch: [rows, length] }: OptimizerModel): Recipe {
  const execution = row.recipe.execution ?? 'whole';
  return parseRecipe({
    model: { path: 'random', init: 'random' },
    data: { train: 'random', maxLength: length },
    adapter: 'full',
    rate: 1e-4,
    batch: rows,
    // Without clipping, gradients go one by one where the execution lets them.
    clip: execution === 'whole' ? 1 : 0,
    ...row.recipe,
    execution,
  });
}
