import { RankineError } from '../errors.ts';
import { alpacaPrompt } from './alpaca.ts';
import type { Message } from './chat.ts';
import { missingField, type Row } from './dataset.ts';

/** The shapes of rows that training understands. */
export type Shape = 'text' | 'completion' | 'messages' | 'instruction' | 'label' | 'pair-label';

/** A row, validated. `where` names its place for later errors. */
export type Sample =
  | { readonly kind: 'text'; readonly text: string; readonly where: string }
  | {
      readonly kind: 'completion';
      readonly prompt: string;
      readonly completion: string;
      readonly where: string;
    }
  | {
      readonly kind: 'messages';
      readonly messages: readonly Message[];
      readonly tools?: unknown;
      readonly where: string;
    };

/** A validated row for classification; `label` in 0 … classes − 1. */
export interface LabelledSample {
  readonly kind: 'label';
  readonly text: string;
  readonly pair?: string;
  readonly label: number;
  readonly where: string;
}

/** The classes of a task: their names in order (id2label), or only how many. */
export type Classes = readonly string[] | number;

/**
 * The shape of a row, by the fields that it has. Looked for in this order: `messages`, `prompt` + `completion`,
 * `instruction` + `output`, `sentence1` + `sentence2` + `label`, `text` (or `sentence`) + `label`, `text`.
 * @throws RankineError `data/unknown-shape` naming the fields present
 */
export function detectShape(row: Row): Shape {
  const has = (...names: string[]) => names.every((name) => row.fields[name] !== undefined);
  if (has('messages')) return 'messages';
  if (has('prompt', 'completion')) return 'completion';
  if (has('instruction', 'output')) return 'instruction';
  if (has('sentence1', 'sentence2', 'label')) return 'pair-label';
  if (has('label') && (has('text') || has('sentence'))) return 'label';
  if (has('text')) return 'text';
  throw new RankineError(
    'data/unknown-shape',
    `${row.where}: the fields ${Object.keys(row.fields).join(', ') || 'none'} make up no known shape.`,
    'Known are text; prompt, completion; messages; instruction, input, output; text, label; sentence1, sentence2, label. Rename with `columns`, e.g. {prompt: question, completion: answer}.',
  );
}

/**
 * Validates a row for language modelling. Rows with labels are read for their text.
 * @throws RankineError `data/missing-field`, `data/wrong-field`
 */
export function languageSample(row: Row, shape: Shape): Sample {
  switch (shape) {
    case 'messages':
      return messagesSample(row);
    case 'completion':
      return completionSample(row);
    case 'instruction':
      return instructionSample(row);
    case 'text':
    case 'label':
      return { kind: 'text', text: text(row, textField(row)), where: row.where };
    case 'pair-label':
      throw new RankineError(
        'data/wrong-shape',
        `${row.where}: sentence1, sentence2 and label are rows for classification, not for a language model.`,
        'Train a classifier, or rename the columns to prompt and completion.',
      );
  }
}

/**
 * Validates a row for classification.
 * @throws RankineError `data/missing-field`, `data/wrong-field`, `data/label`
 */
export function labelledSample(row: Row, shape: Shape, classes: Classes): LabelledSample {
  if (shape === 'pair-label') {
    const pair = { text: text(row, 'sentence1'), pair: text(row, 'sentence2') };
    return { kind: 'label', ...pair, label: labelId(row, classes), where: row.where };
  }
  if (shape !== 'label')
    throw new RankineError(
      'data/wrong-shape',
      `${row.where}: rows of the shape "${shape}" have no label to learn.`,
      'Give text and label, or sentence1, sentence2 and label.',
    );
  return { kind: 'label', text: text(row, textField(row)), label: labelId(row, classes), where: row.where };
}

/** The id of the row's label: a number (or its digits), or a name of the classes. */
export function labelId(row: Row, classes: Classes): number {
  const value = row.fields.label;
  if (value === undefined || value === null) throw missingField(row, ['label']);
  const names = typeof classes === 'number' ? undefined : classes;
  const count = names?.length ?? (classes as number);
  const named = names?.indexOf(String(value)) ?? -1;
  if (typeof value === 'string' && named >= 0) return named;
  const id = typeof value === 'boolean' ? Number(value) : asInteger(value);
  if (id !== undefined && id >= 0 && id < count) return id;
  throw new RankineError(
    'data/label',
    `${row.where}: the label ${JSON.stringify(value)} is none of the ${count} classes (${
      names ? `0 to ${count - 1}: ${names.slice(0, 20).join(', ')}` : `0 to ${count - 1}`
    }).`,
    'Correct the row, or set the number or the names of the classes.',
  );
}

function asInteger(value: unknown): number | undefined {
  const number = typeof value === 'string' && value.trim() !== '' ? Number(value) : value;
  return typeof number === 'number' && Number.isInteger(number) ? number : undefined;
}

function completionSample(row: Row): Sample {
  const prompt = text(row, 'prompt');
  return { kind: 'completion', prompt, completion: text(row, 'completion'), where: row.where };
}

function instructionSample(row: Row): Sample {
  const input = row.fields.input === undefined || row.fields.input === null ? '' : text(row, 'input');
  const prompt = alpacaPrompt(text(row, 'instruction'), input);
  return { kind: 'completion', prompt, completion: text(row, 'output'), where: row.where };
}

function messagesSample(row: Row): Sample {
  const messages = row.fields.messages;
  if (messages === undefined || messages === null) throw missingField(row, ['messages']);
  if (!Array.isArray(messages) || messages.length === 0)
    throw wrongField(row, 'messages', 'a list of messages that is not empty', messages);
  messages.forEach((message, i) => {
    if (typeof message?.role !== 'string')
      throw wrongField(row, `messages[${i}].role`, 'a text', message?.role);
    if (message.content === undefined && message.tool_calls === undefined)
      throw wrongField(row, `messages[${i}].content`, 'a text', undefined);
  });
  const { tools } = row.fields;
  return { kind: 'messages', messages, ...(tools ? { tools } : {}), where: row.where };
}

function textField(row: Row): string {
  return row.fields.text === undefined && row.fields.sentence !== undefined ? 'sentence' : 'text';
}

function text(row: Row, field: string): string {
  const value = row.fields[field];
  if (value === undefined || value === null) throw missingField(row, [field]);
  if (typeof value !== 'string') throw wrongField(row, field, 'a text', value);
  return value;
}

function wrongField(row: Row, field: string, expected: string, found: unknown): RankineError {
  const shown = JSON.stringify(found)?.slice(0, 60);
  return new RankineError(
    'data/wrong-field',
    `${row.where}: the field "${field}" should be ${expected}, found ${shown}.`,
    'Correct the row.',
  );
}
