import type { Engine, Feeds } from '../engine/index.ts';
import { RankineError } from '../errors.ts';
import { type Cursor, random } from '../linalg/index.ts';
import { requireCache, type StepOptions } from './decode-step.ts';
import { createDecoder, type DecodeRow, type Decoder } from './decoder.ts';
import type { Model } from './model.ts';
import { checkSampling, chooseToken, type Sampling } from './sample.ts';
import { type Decode, type TextStream, textStream } from './stop-text.ts';

export interface GenerateOptions extends Sampling {
  /** Most tokens that are added to each prompt. */
  maxNewTokens: number;
  /** Row i draws from the stream `generate/i` of this seed. Default 0. */
  seed?: number | bigint;
  /** A row ends after one of these tokens, usually the tokenizer's end of text. */
  stopIds?: readonly number[];
  /** A row ends where its text contains one of these; needs `decode`. */
  stopStrings?: readonly string[];
  /** Turns tokens into text, special tokens left out; without it, texts are empty. */
  decode?: Decode;
  /**
   * What happens when a text fills the model's longest length: `stop` ends it (and refuses longer prompts); `slide`
   * reads the last half of it again, as if the text began there, and goes on. Default `stop`.
   */
  overflow?: 'stop' | 'slide';
  /** Weight forms by layer name, for a model that generates with its adapter unmerged. */
  hooks?: StepOptions['hooks'];
  /** Replaces tensors of the base, as in `ContextOptions`. */
  substitute?: StepOptions['substitute'];
  /** The tensors that `hooks` and `substitute` ask for, by input name. */
  feeds?: Feeds;
  signal?: AbortSignal;
}

/** Why a row ended: a stop token, a stop string, `maxNewTokens`, or the model's longest text. */
export type Finish = 'stop-id' | 'stop-string' | 'length' | 'context';

export interface Completion {
  /** The new tokens, a stop token included. */
  readonly ids: readonly number[];
  /** Their text, without the stop string. */
  readonly text: string;
  readonly finish: Finish;
}

/** What became known of a row in one step. */
export interface Piece {
  readonly row: number;
  readonly id: number;
  /** Text that is certain now: never half a character, never a part of a stop string. Empty where none is. */
  readonly text: string;
  /** Present at the row's last piece. */
  readonly finish?: Finish;
}

interface Row extends DecodeRow {
  readonly prompt: number;
  readonly cursor: Cursor;
  readonly stream?: TextStream;
  text: string;
  finish?: Finish;
}

/**
 * Continues every prompt; a batch of prompts of any lengths gives what each would give alone.
 * @throws RankineError `models/cannot-generate`, `models/prompt`, `models/prompt-length`, `models/sampling`, `models/stop-strings`
 */
export async function generate(
  engine: Engine,
  model: Pick<Model, 'architecture' | 'weights'>,
  prompts: readonly (readonly number[])[],
  options: GenerateOptions,
): Promise<Completion[]> {
  const pieces = generateStream(engine, model, prompts, options);
  for (;;) {
    const next = await pieces.next();
    if (next.done) return next.value;
  }
}

/** As `generate`, token by token; the rows of one step come in their order. */
export async function* generateStream(
  engine: Engine,
  model: Pick<Model, 'architecture' | 'weights'>,
  prompts: readonly (readonly number[])[],
  options: GenerateOptions,
): AsyncGenerator<Piece, Completion[], undefined> {
  checkOptions(options);
  requireCache(model.architecture);
  prompts.forEach((prompt, i) => {
    checkPrompt(prompt, i, model, options);
  });
  if (prompts.length === 0) return [];
  const limit = model.architecture.maxLength ?? Infinity;
  const rows = prompts.map((prompt, i) => startRow(prompt, i, limit, options));
  const reserve = Math.min(options.maxNewTokens, RESERVE);
  const decoder = createDecoder(engine, model, rows, { ...options, reserve });
  let active = options.maxNewTokens > 0 ? rows.map((_, i) => i) : [];
  while (active.length > 0) {
    options.signal?.throwIfAborted();
    makeRoom(decoder, rows, active, limit);
    const scores = await decoder.read(active);
    for (const i of active) yield takeToken(rows[i], i, scores.get(i)!, limit, options);
    active = active.filter((i) => !rows[i].finish);
  }
  return rows.map(({ tokens, prompt, text, finish }) => ({
    ids: tokens.slice(prompt),
    text,
    finish: finish ?? 'length',
  }));
}

/** New tokens that the cache has room for from the start; longer texts make it grow. */
const RESERVE = 256;

function startRow(prompt: readonly number[], i: number, limit: number, options: GenerateOptions): Row {
  return {
    tokens: [...prompt],
    prompt: prompt.length,
    start: windowStart(prompt.length, 0, limit),
    filled: 0,
    cursor: random(options.seed ?? 0, `generate/${i}`).cursor(),
    stream: options.decode && textStream(options.decode, options.stopStrings ?? []),
    text: '',
  };
}

/** First token of the window: the old one, or the second half of the longest text where `length` tokens do not fit. */
function windowStart(length: number, start: number, limit: number): number {
  return length - start > limit ? length - Math.ceil(limit / 2) : start;
}

function makeRoom(decoder: Decoder, rows: readonly Row[], active: readonly number[], limit: number): void {
  for (const i of active) {
    const start = windowStart(rows[i].tokens.length, rows[i].start, limit);
    if (start !== rows[i].start) decoder.restart(i, start);
  }
}

/** Chooses a row's next token and appends it. */
function takeToken(
  row: Row,
  i: number,
  scores: Float32Array,
  limit: number,
  options: GenerateOptions,
): Piece {
  const id = chooseToken(scores, row.tokens, options, row.cursor);
  row.tokens.push(id);
  const stops = options.stopIds?.includes(id) ?? false;
  let text = stops ? '' : (row.stream?.push(id) ?? '');
  if (stops) row.finish = 'stop-id';
  else if (row.stream?.stopped) row.finish = 'stop-string';
  else if (row.tokens.length - row.prompt >= options.maxNewTokens) row.finish = 'length';
  else if (options.overflow !== 'slide' && row.tokens.length >= limit) row.finish = 'context';
  if (row.finish) text += row.stream?.end() ?? '';
  row.text += text;
  return { row: i, id, text, finish: row.finish };
}

function checkOptions(options: GenerateOptions): void {
  checkSampling(options);
  if (!Number.isInteger(options.maxNewTokens) || options.maxNewTokens < 0)
    throw new RankineError(
      'models/sampling',
      `maxNewTokens is ${options.maxNewTokens}.`,
      'Give an integer of 0 or more.',
    );
  if (!options.stopStrings?.length) return;
  if (!options.decode)
    throw new RankineError(
      'models/stop-strings',
      'Stop strings are compared with text, but no decode function was given.',
      'Give the decode function of the tokenizer.',
    );
  if (options.stopStrings.includes(''))
    throw new RankineError('models/stop-strings', 'A stop string is empty.', 'Give at least one character.');
}

function checkPrompt(
  prompt: readonly number[],
  i: number,
  { architecture }: Pick<Model, 'architecture'>,
  options: GenerateOptions,
): void {
  const { maxLength = Infinity, vocabulary = Infinity } = architecture;
  if (prompt.length === 0)
    throw new RankineError(
      'models/prompt',
      `Prompt ${i} has no tokens.`,
      'Begin it with the token that begins a text.',
    );
  const odd = prompt.find((id) => !(Number.isInteger(id) && id >= 0 && id < vocabulary));
  if (odd !== undefined)
    throw new RankineError(
      'models/prompt',
      `Prompt ${i} has the token ${odd}, but the model knows 0 to ${vocabulary - 1}.`,
      'Use the tokenizer that belongs to the model.',
    );
  if (prompt.length >= maxLength && options.overflow !== 'slide')
    throw new RankineError(
      'models/prompt-length',
      `Prompt ${i} has ${prompt.length} tokens; the model reads ${maxLength}, the answer included.`,
      'Shorten the prompt, or let it slide (overflow: slide), which keeps its end.',
    );
}
