import { join } from 'node:path';
import type { Tokenizer } from '../data/index.ts';
import type { Engine } from '../engine/index.ts';
import { exists, readJsonObject } from '../formats/index.ts';
import { type Completion, type GenerateOptions, generate, type Model } from '../models/index.ts';
import { type Adaptation, traceAdaptation } from './adaptation.ts';
import { factorArrays } from './execution.ts';

/** What makes `generate` run an adapted model without merging: the forms' hooks and their factors. */
export function adaptedGeneration(
  adaptation: Adaptation | undefined,
): Pick<GenerateOptions, 'hooks' | 'feeds'> {
  if (!adaptation) return {};
  return { hooks: traceAdaptation(adaptation).hooks, feeds: Object.fromEntries(factorArrays(adaptation)) };
}

/** How `generate` turns tokens into text. */
export function textGeneration(tokenizer: Tokenizer): Required<Pick<GenerateOptions, 'decode'>> {
  return { decode: (ids) => tokenizer.decode(ids, { skipSpecialTokens: true }) };
}

/**
 * Tokens that end a text: the tokenizer's end of text, and those that the model's `generation_config.json` or
 * `config.json` names as `eos_token_id` (chat models end turns with others).
 */
export async function stopTokens(model: Model, tokenizer: Tokenizer): Promise<number[]> {
  const file = join(model.folder!, 'generation_config.json');
  const generation = (await exists(file)) ? await readJsonObject(file) : {};
  const own = generation.eos_token_id ?? model.config.eos_token_id ?? [];
  const ids = [tokenizer.special.eos, ...tokenizer.around.after, ...(Array.isArray(own) ? own : [own])];
  return [...new Set(ids.filter((id): id is number => Number.isInteger(id)))];
}

/** A prompt as tokens, exactly as training tokenizes the prompt of a completion. */
export function promptTokens(tokenizer: Tokenizer, prompt: string): number[] {
  return [...tokenizer.around.before, ...tokenizer.encodePieces([prompt])[0]];
}

/** A model that answers: with its tokenizer, and an adapter where it has one. */
export interface Answerer {
  readonly engine: Engine;
  readonly model: Model;
  readonly adaptation?: Adaptation;
  readonly tokenizer: Tokenizer;
}

export interface AnswerOptions extends Omit<GenerateOptions, 'hooks' | 'feeds' | 'substitute' | 'decode'> {
  /** Prompts that are answered at once. Default 32. */
  readonly batch?: number;
  /** Called after each batch with the number of prompts answered so far. */
  readonly onProgress?: (done: number) => void;
}

/**
 * Answers prompts in batches; prompts of like length share one, so that little padding is read. The order of the
 * answers is that of the prompts.
 *
 * @throws RankineError those of `generate`
 */
export async function answer(
  { engine, model, adaptation, tokenizer }: Answerer,
  prompts: readonly string[],
  options: AnswerOptions,
): Promise<Completion[]> {
  const { batch = 32, onProgress, ...rest } = options;
  const stopIds = await stopTokens(model, tokenizer);
  const all = { ...textGeneration(tokenizer), stopIds, ...adaptedGeneration(adaptation), ...rest };
  const tokens = prompts.map((prompt) => promptTokens(tokenizer, prompt));
  const order = tokens.map((_, i) => i).sort((a, b) => tokens[a].length - tokens[b].length || a - b);
  const answers: Completion[] = new Array(prompts.length);
  for (let from = 0; from < order.length; from += batch) {
    const chosen = order.slice(from, from + batch);
    const completions = await generate(
      engine,
      model,
      chosen.map((i) => tokens[i]),
      all,
    );
    chosen.forEach((i, k) => {
      answers[i] = completions[k];
    });
    onProgress?.(Math.min(from + batch, order.length));
  }
  return answers;
}
