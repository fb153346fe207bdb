// Written by scripts/registry.mjs from the files of this folder; never edited by hand.
import { dora } from './dora.ts';
import { lora } from './lora.ts';
import { pissa } from './pissa.ts';
import { rslora } from './rslora.ts';
import { vera } from './vera.ts';
import type { WeightForm } from './weight-form.ts';

export const forms: readonly WeightForm[] = [dora, lora, pissa, rslora, vera];
