import type { Tokenizer } from '../data/index.ts';
import type { Engine } from '../engine/index.ts';
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

/** What `generate` needs of a tokenizer: where texts end, and how tokens read. */
export function textGeneration(tokenizer: Tokenizer): Required<Pick<GenerateOptions, 'stopIds' | 'decode'>> {
  const { eos } = tokenizer.special;
  return {
    stopIds: [...new Set([...(eos === undefined ? [] : [eos]), ...tokenizer.around.after])],
    decode: (ids) => tokenizer.decode(ids, { skipSpecialTokens: true }),
  };
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
  const text = textGeneration(tokenizer);
  const all = { ...text, ...adaptedGeneration(adaptation), ...rest };
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
