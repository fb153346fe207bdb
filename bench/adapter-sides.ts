import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { forms } from '../src/adapters/index.ts';
import { type Batch, START } from '../src/data/index.ts';
import type { Engine } from '../src/engine/index.ts';
import { zeros } from '../src/graph/index.ts';
import { random } from '../src/linalg/index.ts';
import type { LayerSpec } from '../src/models/architecture.ts';
import { createModel } from '../src/models/index.ts';
import { optimizers } from '../src/optimizers/index.ts';
import { adapt } from '../src/training/adaptation.ts';
import type { BatchShape } from '../src/training/batch-feeds.ts';
import { wholeExecution } from '../src/training/execution.ts';
import { byName } from '../src/training/recipe-errors.ts';
import { freshProgress } from '../src/training/run-state.ts';
import { trainables } from '../src/training/trainables.ts';
import { createUpdater } from '../src/training/update.ts';
import { createUpdates } from '../src/training/updates.ts';

const CONFIG = {
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

/** One of those that take turns. */
export interface Side {
  /** One whole update; milliseconds. */
  update(): Promise<number>;
}

const SHAPE: BatchShape = {
  rows: ROWS,
  length: LENGTH,
  segments: false,
  positions: false,
  types: false,
  labelled: false,
};

async function* batches(): AsyncGenerator<Batch> {
  const cursor = random(0, 'bench').cursor();
  const ids = Int32Array.from({ length: TOKENS }, () => cursor.integer(CONFIG.vocab_size));
  const ones = new Int32Array(TOKENS).fill(1);
  const shape = [ROWS, LENGTH] as const;
  const counts = { tokens: TOKENS, targetCount: TOKENS, epoch: 0, next: START };
  for (;;) yield { shape, inputIds: ids, targets: ids, segmentIds: ones, positionIds: ones, ...counts };
}

/** A gradient as the forms that want one measure it. */
function drawnGradient(layer: LayerSpec) {
  const gradient = zeros([layer.out, layer.in]);
  random(0, `gradient/${layer.name}`).fillNormal(gradient.data as Float32Array);
  return { gradient };
}

/** Updates of a Llama of 6 layers × 384 with the form on every linear layer. */
export async function adapterSide(
  engine: Engine,
  name: string,
  options: Record<string, unknown>,
): Promise<Side> {
  const model = createModel({ model_type: 'llama', ...CONFIG }, 'language-modelling', 0);
  const form = byName(forms, name, 'adapter', []);
  const adaptation = await adapt(model, form, form.options.parse(options), {
    seed: 0,
    firstRate: 1e-4,
    statistics: drawnGradient,
  });
  const list = trainables(model, adaptation);
  const adamw = byName(optimizers, 'adamw', 'optimizer', []);
  const updates = createUpdates(engine, adamw, adamw.options.parse({}), list, 0);
  const setup = { engine, model, adaptation, trainables: list, seed: 0 };
  const update = createUpdater({
    recipe: { accumulate: 1, clip: 1, seed: 0 },
    total: RUN,
    rates: () => 1e-4,
    setup,
    execution: wholeExecution(setup),
    updates,
    live: { trainables: list, updates, adaptation, model },
    progress: freshProgress(),
    feed: { train: batches, shapeOf: () => SHAPE },
  });
  return {
    async update() {
      const start = performance.now();
      await update();
      return performance.now() - start;
    },
  };
}

/** The same in PyTorch with PEFT, in a process of its own that waits between updates. */
export function peftSide(
  python: string,
  adapter: { readonly config: string; readonly args: Record<string, unknown> },
): Side & { end(): void } {
  const task = JSON.stringify({ model: CONFIG, batch: [ROWS, LENGTH], adapter });
  const script = new URL('pytorch_adapter.py', import.meta.url).pathname;
  const child = spawn(python, [script, task], { stdio: ['pipe', 'pipe', 'ignore'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    async update() {
      child.stdin.write('go\n');
      const { value, done } = await lines.next();
      if (done) throw new Error(`PyTorch ended early: ${python} bench/pytorch_adapter.py '${task}'`);
      return Number(value);
    },
    end: () => child.stdin.end(),
  };
}
