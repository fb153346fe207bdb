import { loadTokenizer } from '../data/index.ts';
import { createEngine, type Device, type Engine } from '../engine/index.ts';
import { RankineError } from '../errors.ts';
import { type PeftAdapter, readPeftAdapter, resolveModel } from '../formats/index.ts';
import type { Model, Task } from '../models/index.ts';
import { type Adaptation, type Answerer, applyAdapter, openModel } from '../training/index.ts';

/** Flags of every verb that runs a model. */
export interface ModelFlags {
  readonly model?: string;
  readonly adapter?: string;
  readonly device?: Device;
  readonly threads?: number;
}

/** A model with its adapter, if any, and where each came from. */
export interface Opened {
  readonly model: Model;
  readonly adaptation?: Adaptation;
  /** Folder or hub id of the base. */
  readonly base: string;
}

/**
 * Opens a base model and puts an adapter on it. Without `--model` it is the base that the adapter names. Task and
 * number of classes come from the adapter, for a base may know nothing of them.
 *
 * @throws RankineError `cli/no-model`; those of `openModel` and `loadAdapter`
 */
export async function openAdapted(flags: ModelFlags): Promise<Opened> {
  const adapter =
    flags.adapter === undefined ? undefined : await readPeftAdapter(await resolveModel(flags.adapter));
  const base = flags.model ?? adapter?.config.base_model_name_or_path;
  if (!base)
    throw new RankineError(
      'cli/no-model',
      adapter
        ? `The adapter ${flags.adapter} names no base model.`
        : 'There is neither --model nor --adapter.',
      'Give --model, a folder or a hub id.',
    );
  const spec = { path: base, init: 'pretrained' as const, ...(adapter ? headOf(adapter) : {}) };
  const model = await openModel(spec, 0);
  return { model, base, adaptation: adapter && applyAdapter(model, adapter) };
}

/** The same with an engine, which the caller disposes of. */
export async function openRunning(flags: ModelFlags): Promise<Opened & { readonly engine: Engine }> {
  const opened = await openAdapted(flags);
  const engine = await createEngine({ device: flags.device, threads: flags.threads });
  return { ...opened, engine };
}

/** The same, ready to answer: with the tokenizer of the base. */
export async function openAnswerer(flags: ModelFlags): Promise<Answerer & Opened> {
  const opened = await openRunning(flags);
  return { ...opened, tokenizer: await loadTokenizer(opened.model.folder!) };
}

const TASKS: Readonly<Record<string, Task>> = {
  CAUSAL_LM: 'language-modelling',
  SEQ_CLS: 'sequence-classification',
  FEATURE_EXTRACTION: 'embedding',
};

/** Weights of classification heads, as far as architectures name them. */
const HEADS = /(^|\.)(score|classifier|classifier\.out_proj)\.weight$/;

function headOf({ config, tensors, labels }: PeftAdapter): { task?: Task; labels?: number | string[] } {
  const task = TASKS[config.task_type ?? ''];
  const head = Object.entries(tensors).find(([name]) => HEADS.test(name));
  if (!head || task === 'language-modelling') return { task };
  const classes = head[1].shape[0];
  return { task, labels: labels?.length === classes ? [...labels] : classes };
}
