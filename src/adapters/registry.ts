// Written by scripts/registry.mjs from the files of this folder; never edited by hand.
import { adalora } from './adalora.ts';
import { allora } from './allora.ts';
import { bone } from './bone.ts';
import { dora } from './dora.ts';
import { dylora } from './dylora.ts';
import { flylora } from './flylora.ts';
import { hut } from './hut.ts';
import { increlora } from './increlora.ts';
import { loldu } from './loldu.ts';
import { lora } from './lora.ts';
import { loraGa } from './lora-ga.ts';
import { loraGgpo } from './lora-ggpo.ts';
import { loraSb } from './lora-sb.ts';
import { loraXs } from './lora-xs.ts';
import { lowRank } from './low-rank.ts';
import { nola } from './nola.ts';
import { pissa } from './pissa.ts';
import { randlora } from './randlora.ts';
import { relora } from './relora.ts';
import { rslora } from './rslora.ts';
import { salt } from './salt.ts';
import { sltrain } from './sltrain.ts';
import { sst } from './sst.ts';
import { vera } from './vera.ts';
import type { WeightForm } from './weight-form.ts';

export const forms: readonly WeightForm[] = [
  adalora,
  allora,
  bone,
  dora,
  dylora,
  flylora,
  hut,
  increlora,
  loldu,
  loraGa,
  loraGgpo,
  loraSb,
  loraXs,
  lora,
  lowRank,
  nola,
  pissa,
  randlora,
  relora,
  rslora,
  salt,
  sltrain,
  sst,
  vera,
];
