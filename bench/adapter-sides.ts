import type { Engine } from '../src/engine/index.ts';
import { zeros } from '../src/graph/index.ts';
import { random } from '../src/linalg/index.ts';
import type { LayerSpec } from '../src/models/architecture.ts';
import { parseRecipe } from '../src/training/index.ts';
import { type ProcessSide, processSide, type Side } from './side.ts';
import { trainingSide } from './training-side.ts';

const CONFIG = {
  model_type: 'llama',
  vocab_size: 8192,
  hidden_size: 384,
  intermediate_size: 1024,
  num_hidden_layers: 6,
  num_attention_heads: 6,
  num_key_value_heads: 6,
  max_position_embeddings: 512,
  rms_norm_eps: 1e-6,
  tie_word_embeddings: true,
};
const [ROWS, LENGTH] = [8, 128];
export const TOKENS = ROWS * LENGTH;
export const SETTING = `${CONFIG.num_hidden_layers} layers × ${CONFIG.hidden_size}, ${ROWS}×${LENGTH} tokens`;

/** Updates of the run whose first ones are timed: what schedules go by. */
export const RUN = 1000;

/** A gradient as the forms that want one measure it. */
function drawnGradient(layer: LayerSpec) {
  const gradient = zeros([layer.out, layer.in]);
  random(0, `gradient/${layer.name}`).fillNormal(gradient.data as Float32Array);
  return { gradient };
}

/** Updates of a Llama of 6 layers × 384 with the form on every linear layer. */
export function adapterSide(engine: Engine, form: string, options: Record<string, unknown>): Promise<Side> {
  const recipe = parseRecipe({
    model: 'random',
    data: { train: 'random', maxLength: LENGTH },
    adapter: { method: form, ...options },
    rate: 1e-4,
    batch: ROWS,
  });
  return trainingSide(engine, { config: CONFIG, recipe, total: RUN }, drawnGradient);
}

/** The same in PyTorch with PEFT, in a process of its own that waits between updates. */
export function peftSide(
  python: string,
  adapter: { readonly config: string; readonly args: Record<string, unknown> },
): ProcessSide {
  const task = JSON.stringify({ model: CONFIG, batch: [ROWS, LENGTH], adapter });
  return processSide(python, [new URL('pytorch_adapter.py', import.meta.url).pathname, task]);
}
