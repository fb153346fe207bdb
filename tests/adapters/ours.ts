import { type AdapterOptions, forms, type WeightForm } from '../../src/adapters/index.ts';
import type { Engine } from '../../src/engine/index.ts';
import type { PeftAdapter } from '../../src/formats/index.ts';
import { adapt } from '../../src/training/adaptation.ts';
import { toPeftAdapter } from '../../src/training/artifacts.ts';
import { goldenModel, trainOn } from './peft.ts';

/** An adapter that is trained here, for Python PEFT to load. */
interface OwnCase {
  readonly base: 'llama-default' | 'gpt2-tied';
  readonly form: string;
  readonly options?: Record<string, unknown>;
  /** As PEFT's plain LORA. */
  readonly plain?: boolean;
}

/** Twelve updates: AdaLoRA's masks leave layers without any triplet. */
const UPDATES = { steps: 12, rate: 1e-2 };
const budget = { targetRank: 1, startSteps: 1, finalSteps: 4, every: 2 };

export const ownCases: Readonly<Record<string, OwnCase>> = {
  'lora-llama': { base: 'llama-default', form: 'lora' },
  'lora-gpt2': { base: 'gpt2-tied', form: 'lora', options: { bias: 'all', modulesToSave: ['ln_f'] } },
  'patterns-gpt2': {
    base: 'gpt2-tied',
    form: 'rslora',
    options: {
      targets: '.*\\.(c_attn|c_fc)',
      rankPattern: { c_fc: 3 },
      alphaPattern: { 'h.1.attn.c_attn': 2 },
      bias: 'lora_only',
    },
  },
  'embedding-llama': {
    base: 'llama-default',
    form: 'lora',
    options: { targets: ['embed_tokens', 'q_proj'] },
  },
  'dora-llama': { base: 'llama-default', form: 'dora' },
  'dora-gpt2': { base: 'gpt2-tied', form: 'dora' },
  'pissa-llama': { base: 'llama-default', form: 'pissa', options: { rankPattern: { q_proj: 2 } } },
  'pissa-gpt2': { base: 'gpt2-tied', form: 'pissa' },
  'adalora-llama': { base: 'llama-default', form: 'adalora', options: budget },
  'adalora-gpt2': { base: 'gpt2-tied', form: 'adalora', options: budget },
  'adalora-as-lora-llama': { base: 'llama-default', form: 'adalora', options: budget, plain: true },
  'lora-xs-gpt2': { base: 'gpt2-tied', form: 'lora-xs' },
  'bat-llama': { base: 'llama-default', form: 'bone', options: { mode: 'bat' } },
  'balance-llama': { base: 'llama-default', form: 'bone', options: { mode: 'balance', rank: 5 } },
  'mini-llama': { base: 'llama-default', form: 'bone', options: { mode: 'mini', miniRank: 2 } },
  'balance-as-lora-gpt2': {
    base: 'gpt2-tied',
    form: 'bone',
    options: { mode: 'balance', rank: 5 },
    plain: true,
  },
};

/** Trains a case through the trainer's updates and writes its adapter as PEFT reads it. */
export async function ownAdapter(name: string, engine: Engine): Promise<PeftAdapter> {
  const { base, form: method, options, plain = false } = ownCases[name];
  const golden = await goldenModel(base);
  const form = forms.find((f) => f.name === method) as WeightForm;
  const parsed = form.options.parse({ rank: 4, ...options }) as AdapterOptions;
  const adaptation = await adapt(golden.model, form, parsed, { seed: 3, firstRate: UPDATES.rate });
  const { trained } = await trainOn(golden, engine, adaptation, UPDATES);
  return toPeftAdapter(golden.model, adaptation, trained, base, { as: plain ? 'lora' : 'own' });
}
