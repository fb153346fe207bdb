import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { rankine, succeed } from '../../tests/command-line.ts';
import { TASK_DATA, writeTinyModel } from '../../tests/tiny-model.ts';

const folder = mkdtempSync(join(tmpdir(), 'rankine-cli-'));
const at = (name: string) => join(folder, name);
const TEST = `${TASK_DATA}test.jsonl`;
const threads = ['--threads', '1'];
let events: Record<string, unknown>[];

beforeAll(async () => {
  await writeTinyModel(at('base'));
  const out = await succeed(
    ...['train', '--model', at('base'), '--data', TEST, '--steps', '3', '--batch', '8', '--rate', '0.05'],
    ...['--set', 'schedule=constant', '--set', 'data.holdOut=8', '--output', at('run'), '--json', ...threads],
  );
  events = out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
}, 120_000);
afterAll(() => rmSync(folder, { recursive: true }));

const json = async (...args: string[]) => JSON.parse(await succeed(...args, '--json'));
const adapted = () => ['--model', at('base'), '--adapter', at('run/adapter'), ...threads];

describe('train', () => {
  test('writes one event a line, the result last', () => {
    expect(events[0]).toMatchObject({ type: 'start', total: 3, from: 0, layers: 14 });
    const steps = events.filter((e) => e.type === 'step');
    expect(steps.map((e) => e.step)).toEqual([1, 2, 3]);
    expect(steps.every((e) => Number.isFinite(e.loss) && e.rate === 0.05)).toBe(true);
    expect(events.at(-1)).toMatchObject({
      type: 'result',
      steps: 3,
      finished: true,
      artifact: at('run/adapter'),
      evaluation: { targets: expect.any(Number) },
    });
  });

  test('leaves a PEFT adapter that names its base', () => {
    const config = JSON.parse(readFileSync(at('run/adapter/adapter_config.json'), 'utf8'));
    expect(config).toMatchObject({ peft_type: 'LORA', r: 8, base_model_name_or_path: at('base') });
  });

  test('says what was reached and what to try next', async () => {
    const args = ['--data', TEST, '--steps', '1', '--batch', '2', '--output', at('plain'), ...threads];
    const out = await succeed('train', '--model', at('base'), ...args);
    expect(out).toMatch(/lora on 14 layers, 8,192 weights trained/);
    expect(out).toMatch(/step 1\/1 {2}loss 7\.\d+/);
    expect(out).toContain(`The adapter is in ${at('plain/adapter')}.`);
    expect(out).toContain(`npx rankine generate --model ${at('base')} --adapter ${at('plain/adapter')}`);
  });

  test('refuses a folder that holds a run, unless told', async () => {
    const args = ['train', '--model', at('base'), '--data', TEST, '--steps', '1', '--batch', '2', ...threads];
    const refused = await rankine(...args, '--output', at('run'));
    expect(refused.code).toBe(1);
    expect(refused.error).toMatch(/^error \[training\/folder-not-empty\]: .*\n {2}Ask to resume/);
    const again = await rankine(...args, '--output', at('run'), '--json');
    expect(JSON.parse(again.error)).toMatchObject({ type: 'error', code: 'training/folder-not-empty' });
  });

  test('resumes a run by its recorded recipe, and no other', async () => {
    const resume = ['train', '--resume', '--output', at('plain')];
    const out = await succeed(...resume, '--json');
    expect(out).toContain('"type":"start","total":1,"from":1');
    expect(await succeed(...resume)).toContain('Nothing was left to do.');
    expect((await rankine(...resume, '--steps', '2')).error).toContain('error [training/other-recipe]');
  });
});

describe('a trained adapter', () => {
  const evaluate = ['--data', TEST, '--limit', '24', '--batch', '8'];

  test('is better than its base on what it learned', async () => {
    const before = await json('evaluate', '--model', at('base'), ...evaluate, ...threads);
    const after = await json('evaluate', ...adapted(), ...evaluate);
    expect(after.loss).toBeLessThan(before.loss - 0.1);
    expect(after.perplexity).toBeCloseTo(Math.exp(after.loss), 6);
    expect(after.targets).toBe(before.targets);
  });

  test('answers unmerged as merged, and otherwise than its base', async () => {
    await succeed('merge', ...adapted(), '--output', at('merged'));
    const prompt = ['--prompt', 'the 3rd of May 1980\\nISO:', '--max-tokens', '12'];
    const unmerged = await json('generate', ...adapted(), ...prompt);
    const merged = await json('generate', '--model', at('merged'), ...prompt, ...threads);
    const base = await json('generate', '--model', at('base'), ...prompt, ...threads);
    expect(unmerged).toEqual(merged);
    expect(unmerged).toMatchObject({ prompt: 'the 3rd of May 1980\nISO:', finish: 'length', newTokens: 12 });
    expect(unmerged.text).not.toBe(base.text);
    const [one, other] = [
      await json('evaluate', ...adapted(), ...evaluate),
      await json('evaluate', '--model', at('merged'), ...evaluate, ...threads),
    ];
    expect(other.loss).toBeCloseTo(one.loss, 4);
  });

  test('is asked for exact matches, all answers told', async () => {
    const { exactMatch } = await json('evaluate', ...adapted(), ...evaluate, '--generate');
    expect(exactMatch).toMatchObject({ right: 0, total: 24, share: 0 });
    expect(exactMatch.interval[1]).toBeCloseTo(0.138, 3);
    expect(exactMatch.answers[2]).toMatchObject({ prompt: 'on 22 July 2004\nISO:', expected: ' 2004-07-22' });
  });

  test('comes out of the run folder again, byte for byte', async () => {
    const { step: best } = await json('export', at('run'), '--output', at('exported'));
    const bytes = (name: string) => readFileSync(at(`${name}/adapter_model.safetensors`));
    expect(bytes('exported').equals(bytes('run/adapter'))).toBe(true);
    const other = best === 3 ? 2 : 3;
    const { step } = await json('export', at(`run/checkpoints/step-${other}`), '--output', at('second'));
    expect(step).toBe(other);
    expect(bytes('second').equals(bytes('exported'))).toBe(false);
  });

  test('finds its base by itself', async () => {
    const named = await json('evaluate', '--adapter', at('run/adapter'), ...evaluate, ...threads);
    expect(named).toEqual(await json('evaluate', ...adapted(), ...evaluate));
  });

  test('is refused by another base', async () => {
    await writeTinyModel(at('wider'), { hidden_size: 64, num_hidden_layers: 2 });
    const args = ['--model', at('wider'), '--adapter', at('run/adapter'), '--prompt', 'x'];
    const { code, error } = await rankine('generate', ...args);
    expect(code).toBe(1);
    expect(error).toContain('error [adapters/other-base]');
  });
});

test('a run of all weights leaves a model and has no adapter to export', async () => {
  const args = ['--model', at('base'), '--data', TEST, '--steps', '1', '--batch', '2', '--adapter', 'full'];
  const out = await succeed('train', ...args, '--output', at('full'), ...threads);
  expect(out).toContain(`The model is in ${at('full/model')}.`);
  expect(existsSync(at('full/model/tokenizer.json'))).toBe(true);
  const { error } = await rankine('export', at('full'), '--output', at('none'));
  expect(error).toContain('error [training/no-peft]');
});

test('FlyLoRA adapters of two tasks are averaged into one that knows its base', async () => {
  const task = (name: string, seed: number) =>
    succeed(
      ...[
        'train',
        '--model',
        at('base'),
        '--data',
        TEST,
        '--steps',
        '1',
        '--batch',
        '2',
        '--adapter',
        'flylora',
      ],
      ...[
        '--rank',
        '8',
        '--set',
        'adapter.active=2',
        '--set',
        `seed=${seed}`,
        '--output',
        at(name),
        ...threads,
      ],
    );
  await task('one', 1);
  await task('two', 2);
  const [first, second] = [at('one/adapter'), at('two/adapter')];
  const merged = await json('merge', '--adapter', first, '--with', second, '--output', at('both'));
  expect(merged).toEqual({ output: at('both'), tasks: 2, type: 'LORA' });
  const scored = await json('evaluate', '--adapter', at('both'), '--data', TEST, '--limit', '8', ...threads);
  expect(scored.loss).toBeGreaterThan(0);
  const refused = await rankine(
    'merge',
    '--adapter',
    first,
    '--with',
    at('run/adapter'),
    '--output',
    at('no'),
  );
  expect(refused.error).toContain('adapters/different-forms');
}, 60_000);

test('sampling is seeded', async () => {
  const args = [
    '--model',
    at('base'),
    '--prompt',
    'x',
    '--temperature',
    '1',
    '--max-tokens',
    '16',
    ...threads,
  ];
  const draw = async (seed: string) => (await json('generate', ...args, '--seed', seed)).text;
  const [one, again, other] = [await draw('1'), await draw('1'), await draw('2')];
  expect(again).toBe(one);
  expect(other).not.toBe(one);
});
