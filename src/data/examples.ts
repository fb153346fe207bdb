import { RankineError } from '../errors.ts';
import { type ChatPiece, type ChatTemplate, chatTemplate } from './chat.ts';
import type { Sample } from './shapes.ts';
import type { Tokenizer } from './tokenizer.ts';

/** The label of a position that the loss leaves out, as in PyTorch and transformers. */
export const IGNORED = -100;

/** One document as tokens. `labels[t]` is `inputIds[t]` or −100; they are shifted when a batch is made. */
export interface TokenExample {
  readonly inputIds: Int32Array;
  readonly labels: Int32Array;
}

/**
 * What happens to a document of more than `maxLength` tokens: keep its start or its end, drop it, stop with an
 * error, or split it into consecutive examples (no overlap), as pretraining does.
 */
export type Truncation = 'keep-start' | 'keep-end' | 'drop' | 'error' | 'split';

/**
 * Where the loss is taken: every token, only what answers the prompt (of a conversation: its last assistant turn),
 * or every assistant turn.
 */
export type LossOn = 'all' | 'completions' | 'assistant';

export interface ExampleOptions {
  readonly maxLength: number;
  /** Default `keep-start`; `split` for plain text. */
  readonly truncation?: Truncation;
  /** Default: `completions` for prompt and completion, `assistant` for messages, else `all`. */
  readonly lossOn?: LossOn;
  /** Ends texts and completions with the end-of-text token (default true, where the tokenizer has one). */
  readonly appendEos?: boolean;
  /** Name of the chat template. */
  readonly template?: string;
}

/** What became of the documents; add up while they are turned into examples. */
export interface ExampleReport {
  examples: number;
  /** Documents that lost tokens. */
  truncated: number;
  tokensDropped: number;
  /** Documents left out because they are too long (`drop`). */
  dropped: number;
  /** Examples left out because no token of theirs would be learned. */
  withoutTarget: number;
}

export function emptyReport(): ExampleReport {
  return { examples: 0, truncated: 0, tokensDropped: 0, dropped: 0, withoutTarget: 0 };
}

/** Turns one validated row into examples: one, several (`split`) or none. */
export type ToExamples = (sample: Sample, report: ExampleReport) => TokenExample[];

/**
 * Makes the function that tokenizes rows for a language model.
 * A prompt is tokenized as the model will see it when asked, its completion as the continuation; a conversation is
 * rendered by the chat template, which brings its own special tokens.
 * @throws RankineError `data/too-long` (with `error`), `data/loss-on` where the rows have no such parts; errors of the template
 */
export function languageExamples(tokenizer: Tokenizer, options: ExampleOptions): ToExamples {
  if (!Number.isInteger(options.maxLength) || options.maxLength < 2)
    throw new RankineError('data/too-long', `The maximal length is ${options.maxLength}.`, 'Give 2 or more.');
  let template: ChatTemplate | undefined;
  return (sample, report) => {
    template ??= sample.kind === 'messages' ? chatTemplate(tokenizer, options.template) : undefined;
    const document = located(sample.where, () => tokenize(sample, tokenizer, options, template));
    const truncation = options.truncation ?? (sample.kind === 'text' ? 'split' : 'keep-start');
    const kept = toLength(document, options.maxLength, truncation, sample.where, report);
    // The first label of an example is predicted from nothing.
    const useful = kept.filter((example) => example.labels.subarray(1).some((label) => label !== IGNORED));
    report.examples += useful.length;
    report.withoutTarget += kept.length - useful.length;
    return useful;
  };
}

interface Piece {
  readonly ids: ArrayLike<number>;
  readonly learned: boolean;
}

function tokenize(
  sample: Sample,
  tokenizer: Tokenizer,
  options: ExampleOptions,
  template: ChatTemplate | undefined,
): TokenExample {
  const before: Piece = { ids: tokenizer.around.before, learned: true };
  const end: Piece = { ids: endIds(tokenizer, options), learned: true };
  if (sample.kind === 'text') {
    requireLoss(options.lossOn, ['all'], 'text');
    return join([before, { ids: tokenizer.encodePieces([sample.text])[0], learned: true }, end]);
  }
  if (sample.kind === 'completion') {
    const lossOn = requireLoss(options.lossOn, ['completions', 'all'], 'prompt and completion');
    const [prompt, completion] = tokenizer.encodePieces([sample.prompt, sample.completion]);
    const all = lossOn === 'all';
    return join([
      { ...before, learned: all },
      { ids: prompt, learned: all },
      { ids: completion, learned: true },
      end,
    ]);
  }
  const lossOn = requireLoss(options.lossOn, ['assistant', 'completions', 'all'], 'messages');
  const pieces = chatPieces(sample, template as ChatTemplate, lossOn);
  const ids = tokenizer.encodePieces(pieces.map((piece) => piece.text));
  return join(pieces.map((piece, i) => ({ ids: ids[i], learned: piece.assistant })));
}

function chatPieces(
  sample: Sample & { kind: 'messages' },
  template: ChatTemplate,
  lossOn: LossOn,
): ChatPiece[] {
  const options = { tools: sample.tools };
  if (lossOn === 'all') return [{ text: template.render(sample.messages, options), assistant: true }];
  const pieces = template.pieces(sample.messages, options);
  if (lossOn === 'assistant') return pieces;
  const last = pieces.findLastIndex((piece) => piece.assistant);
  return pieces.map((piece, i) => ({ text: piece.text, assistant: i === last }));
}

function requireLoss(asked: LossOn | undefined, allowed: readonly LossOn[], shape: string): LossOn {
  if (asked === undefined) return allowed[0];
  if (allowed.includes(asked)) return asked;
  throw new RankineError(
    'data/loss-on',
    `The loss on "${asked}" was asked for, but rows of ${shape} have no such part.`,
    `Set lossOn to ${allowed.join(' or ')}, or use rows that have it.`,
  );
}

/** The ids at the end of a document: what the tokenizer itself puts there, else the end-of-text token. */
function endIds(tokenizer: Tokenizer, { appendEos = true }: ExampleOptions): readonly number[] {
  if (!appendEos) return [];
  if (tokenizer.around.after.length > 0) return tokenizer.around.after;
  return tokenizer.special.eos === undefined ? [] : [tokenizer.special.eos];
}

function join(pieces: readonly Piece[]): TokenExample {
  const length = pieces.reduce((sum, piece) => sum + piece.ids.length, 0);
  const inputIds = new Int32Array(length);
  const labels = new Int32Array(length).fill(IGNORED);
  let at = 0;
  for (const { ids, learned } of pieces) {
    inputIds.set(ids, at);
    if (learned) labels.set(ids, at);
    at += ids.length;
  }
  return { inputIds, labels };
}

function toLength(
  document: TokenExample,
  maxLength: number,
  truncation: Truncation,
  where: string,
  report: ExampleReport,
): TokenExample[] {
  const length = document.inputIds.length;
  if (length <= maxLength) return [document];
  if (truncation === 'split') return windows(document, maxLength);
  if (truncation === 'error')
    throw new RankineError(
      'data/too-long',
      `${where}: ${length} tokens, but at most ${maxLength} are allowed.`,
      'Raise maxLength (no further than the model allows), or set truncation.',
    );
  if (truncation === 'drop') {
    report.dropped++;
    report.tokensDropped += length;
    return [];
  }
  report.truncated++;
  report.tokensDropped += length - maxLength;
  const from = truncation === 'keep-start' ? 0 : length - maxLength;
  return [part(document, from, from + maxLength)];
}

function windows(document: TokenExample, size: number): TokenExample[] {
  const parts: TokenExample[] = [];
  for (let from = 0; from < document.inputIds.length; from += size)
    parts.push(part(document, from, from + size));
  return parts;
}

function part({ inputIds, labels }: TokenExample, from: number, to: number): TokenExample {
  return { inputIds: inputIds.slice(from, to), labels: labels.slice(from, to) };
}

/** Adds the place to errors of the template, which knows nothing of rows. */
function located<T>(where: string, run: () => T): T {
  try {
    return run();
  } catch (error) {
    if (!(error instanceof RankineError)) throw error;
    const fact = error.remedy ? error.message.slice(0, -error.remedy.length - 1) : error.message;
    throw new RankineError(error.code, `${where}: ${fact}`, error.remedy, { cause: error });
  }
}
