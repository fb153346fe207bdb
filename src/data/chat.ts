import { Template } from '@huggingface/jinja';
import { RankineError } from '../errors.ts';

/** One turn. Fields beside `role` and `content` (tool calls, names) are handed to the template as they are. */
export interface Message {
  readonly role: string;
  readonly content: unknown;
  readonly [field: string]: unknown;
}

/** A piece of a rendered chat; `assistant` where the model is to learn it. */
export interface ChatPiece {
  readonly text: string;
  readonly assistant: boolean;
}

export interface ChatTemplate {
  /** The text of a conversation; with `addGenerationPrompt` it ends where the assistant begins to speak. */
  render(messages: readonly Message[], options?: { addGenerationPrompt?: boolean; tools?: unknown }): string;
  /**
   * The rendered conversation cut where assistant turns begin and end; the pieces joined are `render(messages)`.
   * A turn reaches from where the template stops for the assistant to the end-of-turn token, which is included.
   * Templates with `{% generation %}` say so themselves; for others the conversation is rendered turn by turn.
   */
  pieces(messages: readonly Message[], options?: { tools?: unknown }): ChatPiece[];
}

/** OpenAI's ChatML, used where a model brings no template. */
export const CHATML = `{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}`;

/** What a template needs of a tokenizer. */
export interface ChatSource {
  readonly templates: Readonly<Record<string, string>>;
  readonly specialTokens: Readonly<Record<string, string>>;
  readonly stopTexts: readonly string[];
}

// Unicode noncharacters: they can stand in no text, so they cannot be confused with a message.
const OPEN = '\uFDD0';
const CLOSE = '\uFDD1';

/**
 * The chat template of a tokenizer: the one called `name`, by default `default`; ChatML where the tokenizer has none.
 * @throws RankineError `data/no-template`, `data/chat-template`
 */
export function chatTemplate(source: ChatSource, name = 'default'): ChatTemplate {
  const known = Object.keys(source.templates);
  const text = source.templates[name] ?? (known.length === 0 && name === 'default' ? CHATML : undefined);
  if (text === undefined)
    throw new RankineError(
      'data/no-template',
      `The tokenizer has no chat template "${name}"; it has: ${known.join(', ') || 'none'}.`,
      'Name one of these, or add a chat_template.jinja.',
    );
  return compileTemplate(text, source);
}

/** A chat template from its Jinja text. */
export function compileTemplate(text: string, source: Omit<ChatSource, 'templates'>): ChatTemplate {
  const marked = markGeneration(text);
  const plain = guarded(() => new Template(text));
  const withMarks = marked === text ? undefined : guarded(() => new Template(marked));
  const run = (template: Template, messages: readonly Message[], generate: boolean, tools: unknown) =>
    guarded(() =>
      template.render({
        ...source.specialTokens,
        messages: [...messages],
        add_generation_prompt: generate,
        ...(tools === undefined ? {} : { tools }),
      }),
    );
  return {
    render: (messages, { addGenerationPrompt = false, tools } = {}) =>
      run(plain, messages, addGenerationPrompt, tools),
    pieces: (messages, { tools } = {}) =>
      withMarks
        ? fromMarks(run(withMarks, messages, false, tools))
        : turnByTurn(messages, (some, generate) => run(plain, some, generate, tools), source.stopTexts),
  };
}

/** Puts marks where `{% generation %}` opens and closes; block tags around them keep Jinja's whitespace rules. */
function markGeneration(text: string): string {
  return text.replace(/{%(-?)\s*(end)?generation\s*(-?)%}/g, (_, left, end, right) => {
    return `{%${left} if true %}{{ '${end ? CLOSE : OPEN}' }}{% endif ${right}%}`;
  });
}

function fromMarks(rendered: string): ChatPiece[] {
  return rendered
    .split(OPEN)
    .flatMap((part, i) => {
      if (i === 0) return [{ text: part, assistant: false }];
      const [inside, ...after] = part.split(CLOSE);
      return [
        { text: inside, assistant: true },
        { text: after.join(''), assistant: false },
      ];
    })
    .filter((piece) => piece.text !== '');
}

type Render = (messages: readonly Message[], generate: boolean) => string;

function turnByTurn(messages: readonly Message[], render: Render, stopTexts: readonly string[]): ChatPiece[] {
  const full = render(messages, false);
  const pieces: ChatPiece[] = [];
  let from = 0;
  messages.forEach((message, i) => {
    if (message.role !== 'assistant') return;
    const [start, end] = assistantSpan(messages, i, full, render, stopTexts);
    if (start < from) throw unclear(i);
    pieces.push({ text: full.slice(from, start), assistant: false });
    pieces.push({ text: full.slice(start, end), assistant: true });
    from = end;
  });
  pieces.push({ text: full.slice(from), assistant: false });
  return pieces.filter((piece) => piece.text !== '');
}

/** Where turn `i` stands in the full text: after the prompt that would make the model speak, to its own end. */
function assistantSpan(
  messages: readonly Message[],
  i: number,
  full: string,
  render: Render,
  stopTexts: readonly string[],
): [number, number] {
  const prompt = render(messages.slice(0, i), true);
  if (!full.startsWith(prompt)) throw unclear(i);
  const upTo = render(messages.slice(0, i + 1), false);
  if (full.startsWith(upTo) && upTo.length >= prompt.length)
    return [prompt.length, prompt.length + endOfTurn(upTo.slice(prompt.length), stopTexts)];
  // The template rewrites older turns (drops their reasoning, say): look for the words themselves.
  const content = String(message(messages[i])).trim();
  const at = full.indexOf(content, prompt.length);
  if (content === '' || at === -1) throw unclear(i);
  const rest = full.slice(at + content.length);
  const stop = stopTexts.find((text) => rest.startsWith(text)) ?? '';
  return [prompt.length, at + content.length + stop.length];
}

function message(turn: Message): unknown {
  return typeof turn.content === 'string' ? turn.content : '';
}

/** Templates write a line feed after the end-of-turn token: the model stops before it and need not learn it. */
function endOfTurn(turn: string, stopTexts: readonly string[]): number {
  const trimmed = turn.trimEnd();
  return stopTexts.some((text) => trimmed.endsWith(text)) ? trimmed.length : turn.length;
}

function unclear(turn: number): RankineError {
  return new RankineError(
    'data/chat-mask',
    `The chat template rewrites the conversation so that assistant message ${turn + 1} cannot be located.`,
    "Put {% generation %} … {% endgeneration %} around assistant turns in the template, or use lossOn: 'all'.",
  );
}

function guarded<T>(run: () => T): T {
  try {
    return run();
  } catch (cause) {
    throw new RankineError(
      'data/chat-template',
      `The chat template fails: ${(cause as Error).message}.`,
      'Check the roles and their order: many templates demand user and assistant in turn, some refuse a system message.',
      { cause },
    );
  }
}
