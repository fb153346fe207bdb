import { afterAll, expect, it } from 'vitest';
import { tinyModel, tinySetup } from '../../tests/training/tiny.ts';
import { forms } from '../adapters/index.ts';
import { createEngine } from '../engine/index.ts';
import { RankineError } from '../errors.ts';
import { type PeftExportOptions, toPeftAdapter } from './artifacts.ts';

const engine = await createEngine({ threads: 1 });
afterAll(() => engine.dispose());

/** Type of the file, or the code of the refusal. */
async function written(
  method: string,
  as: PeftExportOptions['as'],
  options: Record<string, unknown> = {},
): Promise<string> {
  const model = tinyModel('llama');
  const { adaptation, trainables } = await tinySetup(model, { method, options }, engine);
  try {
    return toPeftAdapter(model, adaptation!, trainables, 'base', { as }).config.peft_type;
  } catch (error) {
    if (error instanceof RankineError) return error.code;
    throw error;
  }
}

it.each([
  ['lora', 'LORA'],
  ['pissa', 'LORA'],
  ['adalora', 'LORA'],
  ['vera', 'LORA'],
  ['dora', 'adapters/no-lora'],
  ['hut', 'adapters/no-lora'],
  ['randlora', 'adapters/no-lora'],
  ['sst', 'training/no-peft'],
])('%s as plain LORA: %s', async (method, expected) => {
  expect(await written(method, 'lora')).toBe(expected);
});

it.each([
  ['bone', { mode: 'balance' }, 'LORA'],
  ['bone', { mode: 'bat' }, 'adapters/no-lora'],
  ['flylora', { rank: 4, active: 2 }, 'adapters/no-lora'],
  ['salt', { relu: 'none' }, 'LORA'],
  ['salt', { relu: 'all' }, 'adapters/no-lora'],
])('%s %o as plain LORA: %s', async (method, options, expected) => {
  expect(await written(method, 'lora', options)).toBe(expected);
});

it('writes the smallest file of those that have one', async () => {
  expect(await written('nola', 'compact', { bases: 5 })).toBe('NOLA');
  expect(await written('nola', 'own', { bases: 5 })).toBe('LORA');
  expect(await written('lora', 'compact')).toBe('training/no-compact');
});

it('tells of another way where PEFT has no type', async () => {
  const model = tinyModel('llama');
  const { adaptation, trainables } = await tinySetup(model, { method: 'salt' }, engine);
  expect(() => toPeftAdapter(model, adaptation!, trainables, 'base')).toThrow(
    expect.objectContaining({ code: 'training/no-peft', remedy: expect.stringContaining('--as-lora') }),
  );
  expect(forms.filter((form) => form.toCompact).map((form) => form.name)).toEqual(['nola']);
});
