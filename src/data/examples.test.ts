import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { alpacaPrompt } from './alpaca.ts';
import type { Row } from './dataset.ts';
import {
  type ExampleOptions,
  emptyReport,
  IGNORED,
  languageExamples,
  type TokenExample,
} from './examples.ts';
import { labelledExamples } from './labelled.ts';
import { detectShape, labelledSample, languageSample, type Shape } from './shapes.ts';
import { loadTokenizer } from './tokenizer.ts';

const tokenizer = await loadTokenizer(
  join(new URL('../../tests/golden/data/', import.meta.url).pathname, 'llama-style'),
);

function row(fields: Record<string, unknown>): Row {
  return { fields, where: 'train.jsonl, line 7' };
}

function make(fields: Record<string, unknown>, options: Partial<ExampleOptions> = {}) {
  const report = emptyReport();
  const sample = languageSample(row(fields), detectShape(row(fields)));
  return { made: languageExamples(tokenizer, { maxLength: 512, ...options })(sample, report), report };
}

/** The text of the tokens that are learned, and of those that are not. */
function masks({ inputIds, labels }: TokenExample) {
  labels.forEach((label, t) => {
    if (label !== IGNORED) expect(label).toBe(inputIds[t]);
  });
  const pick = (learned: boolean) => inputIds.filter((_, t) => (labels[t] !== IGNORED) === learned);
  return { learned: tokenizer.decode(pick(true)), ignored: tokenizer.decode(pick(false)) };
}

describe('shapes', () => {
  it.each<[Record<string, unknown>, Shape]>([
    [{ text: 'a' }, 'text'],
    [{ prompt: 'a', completion: 'b', text: 'c' }, 'completion'],
    [{ messages: [{ role: 'user', content: 'a' }] }, 'messages'],
    [{ instruction: 'a', input: '', output: 'b' }, 'instruction'],
    [{ text: 'a', label: 1 }, 'label'],
    [{ sentence: 'a', label: '1' }, 'label'],
    [{ sentence1: 'a', sentence2: 'b', label: 0 }, 'pair-label'],
  ])('%j is %s', (fields, shape) => {
    expect(detectShape(row(fields))).toBe(shape);
  });

  it('names row, missing field and the fields present', () => {
    expect(() => detectShape(row({ body: 1, title: 2 }))).toThrowError(/train.jsonl, line 7: .*body, title/);
    expect(() => languageSample(row({ prompt: 'a', answer: 'b' }), 'completion')).toThrowError(
      /line 7: the field "completion" is missing; present: prompt, answer/,
    );
    expect(() => languageSample(row({ text: 5 }), 'text')).toThrowError(/line 7: the field "text".*found 5/);
    expect(() => languageSample(row({ messages: [{ content: 'x' }] }), 'messages')).toThrowError(
      /line 7: the field "messages\[0\].role"/,
    );
  });

  it('reads labels as numbers, digits and names', () => {
    const label = (value: unknown, classes: number | string[]) =>
      labelledSample(row({ text: 't', label: value }), 'label', classes).label;
    expect([label(1, 2), label('1', 2), label('good', ['bad', 'good']), label(true, 2)]).toEqual([
      1, 1, 1, 1,
    ]);
    for (const [value, classes] of [
      [2, 2],
      [-1, 2],
      [0.5, 2],
      ['', 2],
      ['ugly', ['bad', 'good']],
      [-100, 2],
    ] as const)
      expect(() => label(value, classes as never)).toThrowError(
        expect.objectContaining({ code: 'data/label', message: expect.stringContaining('line 7') }),
      );
  });
});

describe('where the loss is taken', () => {
  it('on every token of a text, from <s> to </s>', () => {
    const [example] = make({ text: 'the cat' }).made;
    expect(masks(example)).toEqual({ learned: '<s> the cat</s>', ignored: '' });
  });

  it.each(['the cat', 'the cat ', 'é'])(
    'on the completion only, after the prompt %j as the model is asked',
    (prompt) => {
      const [example] = make({ prompt, completion: ' sat on 😀' }).made;
      expect(masks(example).learned.trimStart()).toBe('sat on 😀</s>');
      const asked = tokenizer.encode(prompt).ids;
      expect(example.inputIds.slice(0, asked.length)).toEqual(asked);
      expect(example.labels.slice(0, asked.length).every((label) => label === IGNORED)).toBe(true);
      expect(tokenizer.decode(example.inputIds, { skipSpecialTokens: true })).toBe(`${prompt} sat on 😀`);
    },
  );

  it('on prompt and completion where asked', () => {
    const [example] = make({ prompt: 'the', completion: ' cat' }, { lossOn: 'all', appendEos: false }).made;
    expect(masks(example)).toEqual({ learned: '<s> the cat', ignored: '' });
  });

  it('on the output of an instruction in Alpaca’s words', () => {
    const [example] = make({ instruction: 'Add.', input: '1 2', output: '3' }).made;
    expect(masks(example).ignored).toBe(`<s> ${alpacaPrompt('Add.', '1 2')}`);
    expect(masks(example).learned).toBe('3</s>');
    expect(alpacaPrompt('Add.')).not.toContain('Input');
  });

  const messages = [
    { role: 'user', content: 'one' },
    { role: 'assistant', content: 'two' },
    { role: 'user', content: 'three' },
    { role: 'assistant', content: 'four' },
  ];

  it('on assistant turns, the last one, or everything', () => {
    const learned = (lossOn: 'assistant' | 'completions' | 'all') =>
      masks(make({ messages }, { lossOn }).made[0]).learned;
    // The tokenizer knows no <|im_end|>, so the line feed after it belongs to the turn.
    expect(learned('assistant')).toBe('two<|im_end|>\nfour<|im_end|>\n');
    expect(learned('completions')).toBe('four<|im_end|>\n');
    expect(learned('all').match(/<\|im_start\|>/g)).toHaveLength(4);
  });

  it('refuses a part that the rows lack', () => {
    expect(() => make({ text: 'a' }, { lossOn: 'assistant' })).toThrowError(
      expect.objectContaining({ code: 'data/loss-on', message: expect.stringContaining('line 7') }),
    );
  });
});

describe('documents longer than allowed', () => {
  const fields = { prompt: 'the cat sat on the mat', completion: ' and the dog ran' };
  const whole = make(fields).made[0];
  const n = whole.inputIds.length;

  it('keep their start or their end, and are counted', () => {
    for (const [truncation, from] of [
      ['keep-start', 0],
      ['keep-end', 3],
    ] as const) {
      const { made, report } = make(fields, { maxLength: n - 3, truncation });
      expect(made).toEqual([
        {
          inputIds: whole.inputIds.slice(from, from + n - 3),
          labels: whole.labels.slice(from, from + n - 3),
        },
      ]);
      expect(report).toEqual({ ...emptyReport(), examples: 1, truncated: 1, tokensDropped: 3 });
    }
  });

  it('are dropped, or counted as useless when only the prompt is left', () => {
    expect(make(fields, { maxLength: n - 3, truncation: 'drop' })).toEqual({
      made: [],
      report: { ...emptyReport(), dropped: 1, tokensDropped: n },
    });
    expect(make(fields, { maxLength: 5 }).report).toMatchObject({
      examples: 0,
      withoutTarget: 1,
      truncated: 1,
    });
  });

  it('stop with an error that names the row', () => {
    expect(() => make(fields, { maxLength: n - 1, truncation: 'error' })).toThrowError(
      new RegExp(`train.jsonl, line 7: ${n} tokens, but at most ${n - 1}`),
    );
  });

  it('are split without loss when they are plain text', () => {
    const text = 'the cat sat on the mat and the dog ran';
    const { made, report } = make({ text }, { maxLength: 7 });
    const joined = made.flatMap((example) => [...example.inputIds]);
    expect(joined).toEqual([...make({ text }).made[0].inputIds]);
    expect(Math.max(...made.map((example) => example.inputIds.length))).toBe(7);
    expect(report).toMatchObject({ examples: made.length, truncated: 0, tokensDropped: 0 });
  });
});

describe('classification', () => {
  const sample = labelledSample(
    row({ sentence1: 'the cat', sentence2: 'the dog', label: 1 }),
    'pair-label',
    2,
  );
  const full = tokenizer.encode('the cat', { pair: 'the dog' });

  it('sets special tokens and types around a pair', () => {
    const [example] = labelledExamples(tokenizer, { maxLength: 99 })(sample, emptyReport());
    expect(example).toEqual({ inputIds: full.ids, typeIds: full.typeIds, label: 1 });
  });

  it('cuts, drops or refuses, and counts', () => {
    const report = emptyReport();
    const maxLength = full.ids.length - 2;
    const [cut] = labelledExamples(tokenizer, { maxLength })(sample, report);
    expect(cut.inputIds).toHaveLength(maxLength);
    expect(labelledExamples(tokenizer, { maxLength, truncation: 'drop' })(sample, report)).toEqual([]);
    expect(report).toMatchObject({
      examples: 1,
      truncated: 1,
      dropped: 1,
      tokensDropped: 2 + full.ids.length,
    });
    expect(() =>
      labelledExamples(tokenizer, { maxLength, truncation: 'error' })(sample, report),
    ).toThrowError(/line 7/);
  });
});
