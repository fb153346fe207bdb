import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { chatTemplate, compileTemplate, type Message } from './chat.ts';
import { loadTokenizer } from './tokenizer.ts';

interface Recorded {
  name: string;
  template: string;
  messages: Message[];
  text: string;
  prompt: string;
  spans: [number, number][] | null;
  ids: number[];
}

const golden = new URL('../../tests/golden/data/', import.meta.url).pathname;
const recorded: Recorded[] = JSON.parse(await readFile(join(golden, 'chat.json'), 'utf8'));
const tokenizer = await loadTokenizer(join(golden, 'llama-style'));
const source = { ...tokenizer, stopTexts: [...tokenizer.stopTexts, '<|im_end|>'] };

describe.each(recorded)('the template $name against transformers', (chat) => {
  const template = compileTemplate(chat.template, source);

  it('renders the same text, with and without the generation prompt', () => {
    expect(template.render(chat.messages)).toBe(chat.text);
    expect(template.render(chat.messages.slice(0, -1), { addGenerationPrompt: true })).toBe(chat.prompt);
  });

  it('cuts it into pieces that join to the whole, and tokenizes them as the whole', () => {
    const pieces = template.pieces(chat.messages).map((piece) => piece.text);
    expect(pieces.join('')).toBe(chat.text);
    expect(tokenizer.encodePieces(pieces).flatMap((ids) => [...ids])).toEqual(chat.ids);
  });

  it('finds exactly the assistant turns', () => {
    // Python counts code points.
    const points = [...chat.text];
    const learned = template.pieces(chat.messages).filter((piece) => piece.assistant);
    const expected = chat.spans
      ? chat.spans.map(([from, to]) => points.slice(from, to).join(''))
      : assistantTexts[chat.name as 'chatml' | 'llama2'](chat.messages);
    expect(learned.map((piece) => piece.text)).toEqual(expected);
  });
});

/** What the model has to say after the prompt, up to its end-of-turn token, written out by hand. */
const assistantTexts = {
  chatml: (messages: readonly Message[]) => replies(messages).map((reply) => `${reply}<|im_end|>`),
  llama2: (messages: readonly Message[]) => replies(messages).map((reply) => ` ${reply.trim()} </s>`),
};

function replies(messages: readonly Message[]): string[] {
  return messages.filter((m) => m.role === 'assistant').map((m) => String(m.content));
}

describe('templates', () => {
  const user = { role: 'user', content: 'Hi' };

  it('falls back to ChatML where the tokenizer has none', () => {
    expect(chatTemplate(source).render([user], { addGenerationPrompt: true })).toBe(
      '<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n',
    );
  });

  it('takes a named one, and says which there are', () => {
    const named = { ...source, templates: { default: 'd', tool: '{{ tools }}' } };
    expect(chatTemplate(named, 'tool').render([user], { tools: 'T' })).toBe('T');
    expect(() => chatTemplate(named, 'rag')).toThrowError(/"rag"; it has: default, tool/);
  });

  it('says when a template refuses the roles', () => {
    const llama2 = recorded.find((chat) => chat.name === 'llama2') as Recorded;
    const template = compileTemplate(llama2.template, source);
    expect(() => template.render([user, user])).toThrowError(
      expect.objectContaining({ code: 'data/chat-template', message: expect.stringContaining('alternate') }),
    );
  });

  it('finds turns whose older reasoning the template drops, as Qwen3 does', () => {
    const template = compileTemplate(
      "{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' and loop.last %}<think></think>{% endif %}{{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}",
      source,
    );
    const turns = [user, { role: 'assistant', content: 'One' }, user, { role: 'assistant', content: 'Two' }];
    const learned = template.pieces(turns).filter((piece) => piece.assistant);
    expect(learned.map((piece) => piece.text)).toEqual(['One</s>', '<think></think>Two</s>']);
  });

  it('refuses to guess where turns cannot be located', () => {
    const template = compileTemplate('{{ messages | length }}{{ messages[-1].content }}', source);
    const turns = [user, { role: 'assistant', content: 'Yes' }];
    expect(() => template.pieces(turns)).toThrowError(expect.objectContaining({ code: 'data/chat-mask' }));
  });
});
