import { add } from '../graph/index.ts';
import { loraDelta, loraForward, loraParts } from './lora.ts';
import { loraFromPeft, loraToPeft } from './lora-peft.ts';
import type { LoraOptions } from './options.ts';
import { defineForm } from './weight-form.ts';

const scaleOf = (o: LoraOptions) => o.alpha! / Math.sqrt(o.rank);

/** rsLoRA (Kalajdzievski 2023, arXiv 2312.03732): LoRA with s = α/√r. */
export const rslora = defineForm<LoraOptions>({
  ...loraParts,
  name: 'rslora',
  title: 'A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA',
  paper: 'Kalajdzievski, 2023, arXiv 2312.03732',
  whenToChoose: 'LoRA at high ranks (64 and more), where α/r makes the update vanish.',
  productScale: scaleOf,
  forward: (x, base, p, o, c) => loraForward(scaleOf(o), x, base, p, o, c),
  weight: (base, p, o, layer) => add(base, loraDelta(scaleOf(o), p, layer)),
  toPeft: (layers, o) => loraToPeft(layers, o, { use_rslora: true }),
  fromPeft: (adapter, layers) => loraFromPeft(adapter, layers, { rslora: true }),
});
