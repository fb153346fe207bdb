import { text as readAll } from 'node:stream/consumers';
import type { Command } from 'commander';
import { chatTemplate, type Tokenizer } from '../../data/index.ts';
import { RankineError } from '../../errors.ts';
import { type Completion, generateStream, type Piece, type Sampling } from '../../models/index.ts';
import {
  type Answerer,
  adaptedGeneration,
  listenForInterrupt,
  promptTokens,
  stopTokens,
  textGeneration,
} from '../../training/index.ts';
import { collected, integerFlag, numberFlag } from '../flag-values.ts';
import { modelOptions } from '../model-options.ts';
import { type ModelFlags, openAnswerer } from '../open-model.ts';
import type { Verb } from '../program.ts';

interface Options extends ModelFlags, Sampling {
  readonly prompt?: string;
  readonly chat?: boolean;
  readonly system?: string;
  readonly stop?: readonly string[];
  readonly maxTokens: number;
  readonly seed: number;
  readonly json?: boolean;
}

const EXAMPLES = `
Without --prompt the prompt is read from standard input. In --prompt, \\n stands for a line feed.
Greedy unless --temperature is given. Ctrl-C ends the text.

Examples:
  rankine generate --model gpt2 --prompt "The sea" --temperature 0.8 --top-p 0.95 --seed 7
  rankine generate --adapter runs/quickstart/adapter --prompt "the 3rd of May 1980\\nISO:"
  rankine generate --model HuggingFaceTB/SmolLM2-135M-Instruct --chat --prompt "Name three seas."
  cat prompt.txt | rankine generate --model gpt2 --max-tokens 200`;

export const generateVerb: Verb = {
  define(command: Command) {
    modelOptions(command)
      .option('--prompt <text>', 'what to continue or to answer (default: standard input)', unescaped)
      .option('--chat', "put the prompt into the model's chat template, as the user's turn")
      .option('--system <text>', 'system message of the chat')
      .option('--max-tokens <n>', 'most tokens that are added', integerFlag, 128)
      .option('--temperature <x>', 'divides the scores; 0 takes the best token always', numberFlag)
      .option('--top-k <n>', 'draw from the k best tokens', integerFlag)
      .option('--top-p <x>', 'draw from the best tokens that reach this probability', numberFlag)
      .option('--min-p <x>', 'draw from tokens at least so probable, relative to the best', numberFlag)
      .option('--repetition-penalty <x>', 'makes seen tokens less likely, above 1', numberFlag)
      .option(
        '--stop <text>',
        'ends where the text contains this; may be given several times',
        collectedUnescaped,
      )
      .option('--seed <n>', 'seed of the draws', integerFlag, 0)
      .option('--json', 'one JSON object at the end instead of the growing text')
      .addHelpText('after', EXAMPLES)
      .action(run);
  },
};

async function run(options: Options): Promise<void> {
  const prompt = options.prompt ?? (await promptFromInput());
  const answerer = await openAnswerer(options);
  const interruption = listenForInterrupt();
  try {
    const tokens = tokensOf(answerer.tokenizer, prompt, options);
    const pieces = await stream(answerer, tokens, options);
    const done = await show(pieces, options.json ?? false, interruption.signal);
    if (options.json) process.stdout.write(`${JSON.stringify(summary(prompt, tokens.length, done))}\n`);
  } finally {
    interruption.dispose();
    await answerer.engine.dispose();
  }
}

async function stream(answerer: Answerer, tokens: readonly number[], options: Options) {
  const { engine, model, adaptation, tokenizer } = answerer;
  const { temperature, topK, topP, minP, repetitionPenalty, maxTokens, seed, stop } = options;
  return generateStream(engine, model, [tokens], {
    ...adaptedGeneration(adaptation),
    ...textGeneration(tokenizer),
    stopIds: await stopTokens(model, tokenizer),
    ...{ temperature, topK, topP, minP, repetitionPenalty },
    maxNewTokens: maxTokens,
    seed,
    stopStrings: stop,
  });
}

/** Writes pieces as they come; an interruption ends the text after the token under way. */
async function show(
  pieces: AsyncGenerator<Piece, Completion[], undefined>,
  json: boolean,
  signal: AbortSignal,
): Promise<Pick<Completion, 'text'> & { tokens: number; finish: string }> {
  let [text, tokens, finish] = ['', 0, 'interrupted'];
  for await (const piece of pieces) {
    text += piece.text;
    tokens++;
    finish = piece.finish ?? finish;
    if (!json) process.stdout.write(piece.text);
    if (signal.aborted) break;
    // Tokens follow each other without a pause: signals and the terminal need a turn.
    await new Promise(setImmediate);
  }
  if (!json) process.stdout.write('\n');
  return { text, tokens, finish };
}

function summary(prompt: string, promptTokens: number, done: Awaited<ReturnType<typeof show>>) {
  return { prompt, text: done.text, promptTokens, newTokens: done.tokens, finish: done.finish };
}

function tokensOf(tokenizer: Tokenizer, prompt: string, { chat, system }: Options): number[] {
  if (!chat) return promptTokens(tokenizer, prompt);
  const messages = [
    ...(system === undefined ? [] : [{ role: 'system', content: system }]),
    { role: 'user', content: prompt },
  ];
  const text = chatTemplate(tokenizer).render(messages, { addGenerationPrompt: true });
  // The template writes the special tokens itself.
  return [...tokenizer.encodePieces([text])[0]];
}

async function promptFromInput(): Promise<string> {
  if (process.stdin.isTTY)
    throw new RankineError(
      'cli/no-prompt',
      'There is no prompt.',
      'Give --prompt, or pipe one to standard input.',
    );
  return (await readAll(process.stdin)).replace(/\r?\n$/, '');
}

function unescaped(text: string): string {
  return text.replaceAll('\\n', '\n');
}

function collectedUnescaped(text: string, before?: readonly string[]): string[] {
  return collected(unescaped(text), before);
}
