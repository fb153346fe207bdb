// Written by scripts/registry.mjs from the files of this folder; never edited by hand.
import { adafactor } from './adafactor.ts';
import { adam8bit } from './adam-8bit.ts';
import { adamw } from './adamw.ts';
import { allora } from './allora.ts';
import { apollo } from './apollo.ts';
import { apolloMini } from './apollo-mini.ts';
import { badam } from './badam.ts';
import { fira } from './fira.ts';
import { frugal } from './frugal.ts';
import { galore } from './galore.ts';
import { gradNormLorp } from './gradnormlorp.ts';
import { lion } from './lion.ts';
import { loraPlus } from './lora-plus.ts';
import { loraPro } from './lora-pro.ts';
import type { OptimizerMethod } from './optimizer.ts';
import { sgd } from './sgd.ts';
import { signSgd } from './sign-sgd.ts';

export const optimizers: readonly OptimizerMethod[] = [
  adafactor,
  adam8bit,
  adamw,
  allora,
  apolloMini,
  apollo,
  badam,
  fira,
  frugal,
  galore,
  gradNormLorp,
  lion,
  loraPlus,
  loraPro,
  sgd,
  signSgd,
];
