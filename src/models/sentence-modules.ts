import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { RankineError } from '../errors.ts';
import { exists, readJsonObject } from '../formats/index.ts';
import type { ModelConfig } from './config.ts';
import { type SentenceEmbedding, unknownPooling } from './pooling.ts';

interface SentenceModule {
  /** Python class, e.g. `sentence_transformers.models.Pooling`. */
  readonly type: string;
  /** Its folder. */
  readonly path: string;
}

/**
 * How a sentence-transformers folder makes vectors of hidden states: the pooling and normalizing modules that its
 * `modules.json` lists. Undefined where the folder is none.
 * @throws RankineError `models/sentence-modules`, `models/pooling`, `formats/broken-json`, `formats/missing-file`
 */
export async function readSentenceModules(folder: string): Promise<SentenceEmbedding | undefined> {
  const file = join(folder, 'modules.json');
  if (!(await exists(file))) return undefined;
  const modules = parseModules(file, await readFile(file, 'utf8'));
  const paths = new Map(modules.map(({ type, path }) => [type.slice(type.lastIndexOf('.') + 1), path]));
  const other = [...paths.keys()].find((name) => !['Transformer', 'Pooling', 'Normalize'].includes(name));
  if (other)
    throw badModules(file, `has a module ${other}`, 'Only Transformer, Pooling and Normalize are computed.');
  const pooling = paths.get('Pooling');
  if (pooling === undefined) return undefined;
  const settings = await readJsonObject(join(folder, pooling, 'config.json'));
  return { pooling: poolingOf(settings), normalize: paths.has('Normalize') };
}

function parseModules(file: string, text: string): SentenceModule[] {
  let modules: unknown;
  try {
    modules = JSON.parse(text);
  } catch (cause) {
    throw badModules(file, `is no JSON (${(cause as Error).message})`, 'Download it again.');
  }
  const proper = (m: Partial<SentenceModule>) => typeof m?.type === 'string' && typeof m.path === 'string';
  if (Array.isArray(modules) && modules.every(proper)) return modules;
  throw badModules(file, 'is no list of modules with type and path', 'Download it again.');
}

function badModules(file: string, fact: string, remedy: string): RankineError {
  return new RankineError('models/sentence-modules', `${file} ${fact}.`, remedy);
}

const MODES: Readonly<Record<string, SentenceEmbedding['pooling']>> = {
  mean: 'mean',
  mean_tokens: 'mean',
  cls: 'cls',
  cls_token: 'cls',
  lasttoken: 'last',
};

/** Newer folders name the mode, older ones have a flag `pooling_mode_…` for each; without any it is the mean. */
function poolingOf(settings: ModelConfig): SentenceEmbedding['pooling'] {
  const flags = Object.keys(settings).filter((key) => /^pooling_mode_/.test(key) && settings[key] === true);
  const mode =
    settings.pooling_mode ?? (flags.map((key) => key.slice('pooling_mode_'.length)).join('+') || 'mean');
  if (typeof mode === 'string' && Object.hasOwn(MODES, mode)) return MODES[mode];
  throw unknownPooling(String(mode));
}
