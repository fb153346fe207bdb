import { RankineError } from '../errors.ts';
import { type Checkpoint, missingTensor, openCheckpoint } from '../formats/index.ts';
import type { NDArray } from '../graph/array.ts';
import type { Architecture, ParameterSpec, Task } from './architecture.ts';
import { type ModelConfig, withLabels } from './config.ts';
import { drawParameter, type Model } from './model.ts';
import { architectureOf, familyOf } from './registry.ts';
import { readSentenceModules } from './sentence-modules.ts';
import { isBuffer, matchNames } from './tensor-names.ts';

export interface LoadOptions {
  /** Default: what the class named in config.json does. */
  readonly task?: Task;
  /** Classes of a classification head: their names or their number. Default: those of config.json. */
  readonly labels?: number | readonly string[];
  /** Draws a head that the checkpoint lacks. Default 0. */
  readonly seed?: number | bigint;
}

/**
 * Reads a Hugging Face model folder. Every tensor is checked by name and shape; a base-model checkpoint loads into a
 * model with a head and the reverse; a classification head that is missing, or whose output layer is of other classes than
 * `labels` (another number, or other names), is freshly drawn, and `notices` says so. Pooling and normalization of a sentence-transformers folder are added to the
 * configuration as `sentence_embedding`.
 *
 * @throws RankineError `formats/missing-tensor`, `formats/tensor-shape`, `models/quantized`, `models/labels`, those of `openCheckpoint` and `architectureOf`
 */
export async function loadModel(folder: string, options: LoadOptions = {}): Promise<Model> {
  const checkpoint = await openCheckpoint(folder);
  try {
    const sentence =
      (options.task ?? 'embedding') === 'embedding' ? await readSentenceModules(folder) : undefined;
    const config = sentence ? { ...checkpoint.config, sentence_embedding: sentence } : checkpoint.config;
    return await modelFrom({ ...checkpoint, config }, options);
  } finally {
    await checkpoint.close();
  }
}

/** The same from a checkpoint that is open already, which stays open. */
export async function modelFrom(checkpoint: Checkpoint, options: LoadOptions = {}): Promise<Model> {
  refuseQuantized(checkpoint);
  const labelled =
    options.labels !== undefined ? withLabels(checkpoint.config, options.labels) : checkpoint.config;
  const config = await withoutFalseTie(checkpoint, labelled, options.task);
  const architecture = architectureOf(config, options.task);
  const stored = matchNames(checkpoint.names(), architecture, familyOf(config).prefix);
  const weights = new Map<string, NDArray>();
  const notices = unusedNotice(checkpoint, stored, architecture);
  if (config !== labelled)
    notices.push('The stored lm_head.weight differs from the embeddings, so the two are not tied.');
  const fresh: string[] = [];
  const renamed = hasOtherNames(checkpoint.config, config) ? architecture.layers.at(-1)!.name : undefined;
  for (const [name, spec] of architecture.parameters) {
    const ofOthers = spec.head && name.replace(/\.[^.]+$/, '') === renamed;
    const source = ofOthers ? undefined : usable(checkpoint, stored.get(name), name, spec, options);
    if (!source) fresh.push(name);
    weights.set(name, source ? await checkpoint.read(source) : drawParameter(name, spec, options.seed ?? 0));
  }
  if (fresh.length > 0)
    notices.push(`Freshly drawn, because the checkpoint has none that fit: ${fresh.join(', ')}.`);
  return { architecture, config, weights, folder: checkpoint.folder, fresh, notices };
}

function refuseQuantized({ folder, config }: Checkpoint): void {
  if (config.quantization_config == null) return;
  throw new RankineError(
    'models/quantized',
    `The weights in ${folder} are quantized (${(config.quantization_config as ModelConfig).quant_method}).`,
    'Use the checkpoint that they were made of.',
  );
}

/** True where both configurations name their classes, but not the same ones in the same order. */
function hasOtherNames(stored: ModelConfig, asked: ModelConfig): boolean {
  const [before, now] = [classNames(stored), classNames(asked)];
  return before !== undefined && now !== undefined && before.join('\n') !== now.join('\n');
}

/** The names of the classes in their order; undefined where there are none but LABEL_0, LABEL_1, … */
function classNames({ id2label }: ModelConfig): string[] | undefined {
  if (!id2label) return undefined;
  const names = Object.entries(id2label as Record<string, string>)
    .sort(([a], [b]) => Number(a) - Number(b))
    .map(([, name]) => name);
  return names.every((name, i) => name === `LABEL_${i}`) ? undefined : names;
}

/** The stored tensor of a parameter, or undefined where a fresh one must do. */
function usable(
  checkpoint: Checkpoint,
  source: string | undefined,
  name: string,
  spec: ParameterSpec,
  options: LoadOptions,
): string | undefined {
  if (source === undefined) {
    if (spec.head) return undefined;
    throw missingTensor(checkpoint.folder, name, checkpoint.names());
  }
  const otherClasses =
    spec.head && options.labels !== undefined && checkpoint.shape(source)[0] !== spec.shape[0];
  if (otherClasses) return undefined;
  checkpoint.expect(source, spec.shape);
  return source;
}

/** A checkpoint may say that its head is tied and yet store another one: the stored one counts, as in transformers 5. */
async function withoutFalseTie(
  checkpoint: Checkpoint,
  config: ModelConfig,
  task?: Task,
): Promise<ModelConfig> {
  const architecture = architectureOf(config, task);
  const tied = architecture.task === 'language-modelling' && !architecture.parameters.has(HEAD);
  if (!tied || !checkpoint.has(HEAD)) return config;
  const [embedding] = architecture.parameters.keys();
  const source = matchNames(checkpoint.names(), architecture, familyOf(config).prefix).get(embedding);
  if (source !== undefined && sameValues(await checkpoint.read(source), await checkpoint.read(HEAD)))
    return config;
  return { ...config, tie_word_embeddings: false };
}

const HEAD = 'lm_head.weight';

function sameValues(a: NDArray, b: NDArray): boolean {
  if (a.data.length !== b.data.length) return false;
  for (let i = 0; i < a.data.length; i++) if (a.data[i] !== b.data[i]) return false;
  return true;
}

function unusedNotice(
  checkpoint: Checkpoint,
  stored: ReadonlyMap<string, string>,
  architecture: Architecture,
): string[] {
  const used = new Set(stored.values());
  const tiedHead = (name: string) => name === HEAD && architecture.task === 'language-modelling';
  const unused = checkpoint.names().filter((n) => !used.has(n) && !isBuffer(n) && !tiedHead(n));
  if (unused.length === 0) return [];
  const shown = unused.slice(0, 5).join(', ') + (unused.length > 5 ? `, … (${unused.length})` : '');
  return [`Not used for ${architecture.task}: ${shown}.`];
}
