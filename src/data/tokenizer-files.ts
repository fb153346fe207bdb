import { readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { RankineError } from '../errors.ts';
import { bertTokenizer, type LegacyFiles, robertaOrGpt2Tokenizer } from './tokenizer-legacy.ts';

/** The parts of `tokenizer.json` that we look into ourselves; the rest passes through to the library. */
export interface TokenizerJson {
  added_tokens: readonly AddedToken[];
  post_processor: unknown;
  model: { type: string; vocab: unknown };
  [part: string]: unknown;
}

export interface AddedToken {
  id: number;
  content: string;
  special: boolean;
  single_word: boolean;
  lstrip: boolean;
  rstrip: boolean;
  normalized: boolean;
}

/** Everything a tokenizer folder says. */
export interface TokenizerFiles {
  readonly folder: string;
  readonly json: TokenizerJson;
  /** `tokenizer_config.json`, completed by `special_tokens_map.json`. */
  readonly config: Record<string, unknown>;
  /** Chat templates by name; the main one is `default`. */
  readonly templates: Readonly<Record<string, string>>;
}

/**
 * Reads a Hugging Face tokenizer folder: `tokenizer.json`, or the older `vocab.json` + `merges.txt` (GPT-2,
 * RoBERTa) or `vocab.txt` (BERT), from which the same structure is built.
 * @throws RankineError `data/no-tokenizer`, `data/broken-json`
 */
export async function readTokenizerFiles(folder: string): Promise<TokenizerFiles> {
  const config = {
    ...(await optionalJson(join(folder, 'special_tokens_map.json'))),
    ...(await optionalJson(join(folder, 'tokenizer_config.json'))),
  };
  const templates = await readTemplates(folder, config.chat_template);
  const ready = await optionalJson(join(folder, 'tokenizer.json'));
  if (ready) return { folder, json: ready as unknown as TokenizerJson, config, templates };
  const legacy = await readLegacy(folder, config);
  return { folder, json: legacy.json, config: { ...legacy.defaults, ...config }, templates };
}

async function readLegacy(
  folder: string,
  config: Record<string, unknown>,
): Promise<ReturnType<typeof bertTokenizer>> {
  const files: LegacyFiles = {
    config,
    added: await optionalJson(join(folder, 'added_tokens.json')),
    modelType: (await optionalJson(join(folder, 'config.json')))?.model_type,
  };
  const vocab = await optionalJson(join(folder, 'vocab.json'));
  const merges = await optionalText(join(folder, 'merges.txt'));
  if (vocab && merges !== undefined)
    return robertaOrGpt2Tokenizer(vocab as Record<string, number>, merges, files);
  const words = await optionalText(join(folder, 'vocab.txt'));
  if (words !== undefined) return bertTokenizer(words, files);
  throw new RankineError(
    'data/no-tokenizer',
    `${folder} holds no tokenizer: none of tokenizer.json, vocab.json with merges.txt, or vocab.txt.`,
    'Name the folder that has one (model.tokenizer in a recipe), or convert a tokenizer.model to tokenizer.json first.',
  );
}

/** `chat_template.jinja`, `additional_chat_templates/*.jinja`, or the field: a string or a list of {name, template}. */
async function readTemplates(folder: string, field: unknown): Promise<Record<string, string>> {
  const templates: Record<string, string> = {};
  if (typeof field === 'string') templates.default = field;
  if (Array.isArray(field)) for (const { name, template } of field) templates[name] = template;
  const main = await optionalText(join(folder, 'chat_template.jinja'));
  if (main !== undefined) templates.default = main;
  const more = join(folder, 'additional_chat_templates');
  for (const file of (await readdir(more).catch(absent)) ?? [])
    if (file.endsWith('.jinja'))
      templates[basename(file, '.jinja')] = await readFile(join(more, file), 'utf8');
  return templates;
}

async function optionalText(path: string): Promise<string | undefined> {
  return readFile(path, 'utf8').catch(absent);
}

async function optionalJson(path: string): Promise<Record<string, unknown> | undefined> {
  const text = await optionalText(path);
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new RankineError(
      'data/broken-json',
      `${path} is no valid JSON: ${(cause as Error).message}.`,
      'Download the file again.',
      { cause },
    );
  }
}

function absent(error: NodeJS.ErrnoException): undefined {
  if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
  throw error;
}
