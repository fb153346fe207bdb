import { RUN } from './adapter-sides.ts';

/** One row of the adapters' table: a form with its options, the LoRA that it is measured by, and PEFT's own. */
export interface AdapterRow {
  readonly form: string;
  readonly options?: Record<string, unknown>;
  /** Rank of the plain LoRA beside it: the ranks that are live, for forms of full rank the same trained numbers. */
  readonly rank: number;
  /** PEFT's configuration class and its arguments. */
  readonly peft?: { readonly config: string; readonly args: Record<string, unknown> };
  /** Updates from one event of the form's schedule to the next, where they differ: their mean is measured. */
  readonly interval?: number;
  /** Most that a step may take, as a multiple of LoRA's. */
  readonly most: number;
}

const FACTORS = 1.2;
const BUILT = 1.6;

const lora = (args: Record<string, unknown>) => ({
  config: 'LoraConfig',
  args: { r: 8, lora_alpha: 16, ...args },
});

export const adapterRows: readonly AdapterRow[] = [
  { form: 'lora', rank: 8, peft: lora({}), most: FACTORS },
  { form: 'rslora', rank: 8, peft: lora({ use_rslora: true }), most: FACTORS },
  { form: 'pissa', rank: 8, peft: lora({ init_lora_weights: 'pissa_niter_4' }), most: FACTORS },
  { form: 'lora-ga', rank: 8, most: FACTORS },
  { form: 'relora', rank: 8, most: FACTORS },
  {
    form: 'adalora',
    options: { targetRank: 4, startSteps: 2, finalSteps: 2, every: 1 },
    rank: 8,
    peft: {
      config: 'AdaLoraConfig',
      args: { init_r: 8, target_r: 4, tinit: 2, tfinal: 2, deltaT: 1, total_step: RUN, lora_alpha: 16 },
    },
    most: FACTORS,
  },
  // Of the default's updates 30 in 100 take scores: those that do not, those that do, and intervals of that share.
  { form: 'increlora', rank: 2, most: FACTORS },
  { form: 'increlora', options: { every: 5, first: 2 }, rank: 2, most: FACTORS },
  {
    form: 'increlora',
    options: { every: 20, first: 2, scored: 6 },
    rank: 2,
    interval: 20,
    most: FACTORS,
  },
  { form: 'dylora', rank: 8, most: FACTORS },
  { form: 'dylora', options: { mode: 'all' }, rank: 8, most: FACTORS },
  { form: 'lora-xs', rank: 32, most: FACTORS },
  { form: 'lora-sb', rank: 32, most: FACTORS },
  { form: 'nola', rank: 8, most: FACTORS },
  { form: 'flylora', rank: 32, most: FACTORS },
  { form: 'loldu', rank: 8, most: FACTORS },
  { form: 'low-rank', rank: 128, most: FACTORS },
  { form: 'vera', rank: 256, peft: { config: 'VeraConfig', args: { r: 256 } }, most: FACTORS },
  { form: 'bone', options: { mode: 'balance', rank: 64 }, rank: 32, peft: miss(true), most: FACTORS },
  { form: 'bone', options: { mode: 'bat', rank: 64 }, rank: 32, peft: miss('bat'), most: BUILT },
  {
    form: 'dora',
    rank: 8,
    peft: lora({ use_dora: true }),
    most: BUILT,
  },
  { form: 'hut', rank: 8, peft: { config: 'HiraConfig', args: { r: 8 } }, most: BUILT },
  {
    form: 'randlora',
    options: { rank: 32 },
    rank: 8,
    peft: { config: 'RandLoraConfig', args: { r: 32, randlora_alpha: 640 } },
    most: BUILT,
  },
  { form: 'salt', rank: 8, most: BUILT },
  { form: 'sst', rank: 8, most: BUILT },
];

function miss(init_weights: true | 'bat') {
  return { config: 'MissConfig', args: { r: 64, init_weights } };
}
