import { type AdapterOptions, forms } from '../../src/adapters/index.ts';
import { emptyReport, layOut, START } from '../../src/data/index.ts';
import { createEngine, type Engine } from '../../src/engine/index.ts';
import { openTensorFile, type PeftAdapter, type PeftConfig } from '../../src/formats/index.ts';
import { linear, type NDArray, program } from '../../src/graph/index.ts';
import { architectureOf, forward, type Model, traceContext } from '../../src/models/index.ts';
import { optimizers } from '../../src/optimizers/index.ts';
import { type Adaptation, adapt, traceAdaptation } from '../../src/training/adaptation.ts';
import type { AnyBatch, BatchShape } from '../../src/training/batch-feeds.ts';
import { factorArrays, type Setup } from '../../src/training/execution.ts';
import { applyAdapter } from '../../src/training/load-adapter.ts';
import { freshProgress, type Live } from '../../src/training/run-state.ts';
import type { Feed } from '../../src/training/sources.ts';
import { type Trainable, trainables } from '../../src/training/trainables.ts';
import { createUpdater } from '../../src/training/update.ts';
import { createUpdates } from '../../src/training/updates.ts';
import { wholeExecution } from '../../src/training/whole.ts';
import { batchFeeds, batchInputs, type GoldenModel, goldenModel, isToken } from '../golden-models.ts';

/** An adapter that PEFT trained or ran (scripts/reference/adapters). */
export interface PeftRecord {
  readonly base: string;
  readonly adapter: PeftAdapter;
  /** The factors that training started from; empty where the record has none. */
  readonly start: Readonly<Record<string, NDArray>>;
  readonly losses: readonly number[];
  readonly logits: NDArray;
  readonly rate: number;
  /** Entries of the file's metadata. */
  readonly metadata: Readonly<Record<string, string>>;
}

export async function peftRecord(name: string): Promise<PeftRecord> {
  const path = new URL(`../golden/adapters/${name}.safetensors`, import.meta.url).pathname;
  const file = await openTensorFile(path);
  const part = async (prefix: string) => {
    const names = [...file.tensors.keys()].filter((n) => n.startsWith(prefix));
    const arrays = names.map(async (n) => [n.slice(prefix.length), await file.read(n)] as const);
    return Object.fromEntries(await Promise.all(arrays));
  };
  const record = {
    base: file.metadata.base,
    adapter: { config: JSON.parse(file.metadata.config) as PeftConfig, tensors: await part('adapter/') },
    start: await part('start/'),
    losses: file.tensors.has('losses') ? [...(await file.read('losses')).data].map(Number) : [],
    logits: await file.read('logits'),
    rate: Number(file.metadata.rate),
    metadata: file.metadata,
  };
  await file.close();
  return record;
}

/** The adaptation that PEFT started from: its factors, or for PiSSA our own decomposition. */
export async function startAs(record: PeftRecord, model: Model): Promise<Adaptation> {
  const { config } = record.adapter;
  if (record.metadata.pissa) {
    const pissa = forms.find((form) => form.name === 'pissa')!;
    const options = pissa.options.parse(JSON.parse(record.metadata.pissa)) as AdapterOptions;
    return adapt(model, pissa, options, { seed: 0, firstRate: record.rate });
  }
  const { rank_pattern: pattern, ...rest } = config;
  const begun = config.peft_type === 'ADALORA' ? rest : { ...rest, rank_pattern: pattern };
  const adaptation = applyAdapter(model, { config: begun, tensors: record.start });
  return { ...adaptation, steps: adaptation.form.steps?.(adaptation.options, adaptation.layers) };
}

/** The model's batch as the trainer gets it: every token but the first of a row is a target. */
function batchOf({ inputs }: GoldenModel): AnyBatch {
  const [rows, length] = inputs.input_ids.shape;
  const examples = Array.from({ length: rows }, (_, row) => {
    const at = (array: NDArray) => [...array.data.slice(row * length, (row + 1) * length)].map(Number);
    const used = at(inputs.attention_mask).filter((m) => m === 1).length;
    const inputIds = Int32Array.from(at(inputs.input_ids).slice(0, used));
    return [{ inputIds, labels: inputIds.slice() }];
  });
  return { ...layOut(examples, length), epoch: 0, next: START };
}

async function* forever(batch: AnyBatch): AsyncGenerator<AnyBatch> {
  for (;;) yield batch;
}

/** The model's own batch again and again. */
export function feedOf(golden: GoldenModel): Feed {
  const [rows, length] = golden.inputs.input_ids.shape;
  const shape: BatchShape = {
    rows,
    length,
    segments: false,
    positions: false,
    types: false,
    labelled: false,
  };
  return {
    report: emptyReport(),
    train: () => forever(batchOf(golden)),
    shapeOf: () => shape,
    largest: shape,
    updatesPerEpoch: async () => 1,
  };
}

/** PEFT trained without the dropout that GPT-2's configuration asks for. */
const NO_DROPOUT = { resid_pdrop: 0, embd_pdrop: 0, attn_pdrop: 0 };

/** Trains with AdamW through the trainer's own updates and returns the losses. */
export async function trainOn(
  golden: GoldenModel,
  engine: Engine,
  adaptation: Adaptation,
  { steps, rate }: { steps: number; rate: number },
): Promise<{ losses: number[]; trained: readonly Trainable[] }> {
  const architecture = architectureOf({ ...golden.model.config, ...NO_DROPOUT }, 'language-modelling');
  const model = { ...golden.model, architecture };
  const list = trainables(model, adaptation);
  const setup: Setup = { engine, model, adaptation, trainables: list, seed: 0 };
  const adamw = optimizers.find((o) => o.name === 'adamw')!;
  const updates = createUpdates(engine, adamw, adamw.options.parse({}), list, 0);
  const live: Live = { trainables: list, updates, adaptation, model };
  const update = createUpdater({
    recipe: { accumulate: 1, clip: 0, seed: 0 },
    total: steps,
    rates: () => rate,
    setup,
    execution: wholeExecution(setup),
    updates,
    live,
    progress: freshProgress(),
    feed: feedOf(golden),
  });
  const losses: number[] = [];
  for (let i = 0; i < steps; i++) losses.push((await update()).loss);
  return { losses, trained: list };
}

/** Logits [B, T, V] of the adapted model, unmerged. */
export async function logitsOf(
  golden: GoldenModel,
  engine: Engine,
  adaptation: Adaptation,
): Promise<NDArray> {
  const { model } = golden;
  const context = traceContext(model.architecture, { hooks: traceAdaptation(adaptation).hooks });
  const given = batchFeeds(golden);
  const head = forward(model.architecture, context, batchInputs(given));
  const logits = head.kind === 'tokens' ? linear(head.hidden, head.weight, head.bias) : undefined;
  const executable = await engine.compile(program({ logits: logits! }));
  const arrays: Record<string, NDArray> = {
    ...Object.fromEntries(model.weights),
    ...Object.fromEntries(factorArrays(adaptation)),
    ...given,
  };
  const feeds = Object.fromEntries(executable.inputs.map(({ name }) => [name, arrays[name]]));
  return (await executable.run(feeds)).logits;
}

/** Largest difference of two logits over the positions that are tokens. */
export function logitError(golden: GoldenModel, a: NDArray, b: NDArray): number {
  let most = 0;
  for (let i = 0; i < a.data.length; i++)
    if (isToken(golden, i)) most = Math.max(most, Math.abs(Number(a.data[i]) - Number(b.data[i])));
  return most;
}

export { createEngine, goldenModel };
