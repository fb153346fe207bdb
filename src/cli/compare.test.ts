import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { rankine, startRankine, succeed } from '../../tests/command-line.ts';
import { TASK_DATA, writeTinyModel } from '../../tests/tiny-model.ts';
import { replayAll, type StudyResult } from '../studies/index.ts';

const folder = mkdtempSync(join(tmpdir(), 'rankine-compare-'));
const at = (name: string) => join(folder, name);
const study = (name: string, changes: Record<string, unknown> = {}) => {
  const content = {
    name,
    recipe: {
      ...{ model: at('base'), steps: 3, batch: 4, rate: 0.02, threads: 1, schedule: 'constant' },
      data: { train: `${TASK_DATA}train.jsonl`, lossOn: 'completions', maxLength: 48 },
    },
    methods: ['lora', { label: 'explodes', adapter: 'lora', rate: 1e30 }],
    budget: { trainable: 9000 },
    seeds: 2,
    test: { path: `${TASK_DATA}test.jsonl`, limit: 6 },
    ...{ parallel: 2, output: at(name), store: at('runs.duckdb') },
    ...changes,
  };
  writeFileSync(at(`${name}.json`), JSON.stringify(content));
  return at(`${name}.json`);
};
const compare = async (file: string, ...flags: string[]): Promise<StudyResult> =>
  JSON.parse(await succeed('compare', file, '--yes', '--json', ...flags));

let result: StudyResult;
beforeAll(async () => {
  await writeTinyModel(at('base'));
  result = await compare(study('first'));
}, 120_000);
afterAll(() => rmSync(folder, { recursive: true }));

describe('a study', () => {
  test('spends the budget, and nothing without a yes', async () => {
    const plan = JSON.parse(await succeed('compare', at('first.json'), '--dry-run', '--json'));
    expect(plan[0]).toMatchObject({
      label: 'lora',
      fits: true,
      chosen: { 'adapter.rank': 8 },
      trainable: 8192,
    });
    const { code, error } = await rankine('compare', at('first.json'));
    expect(code).toBe(1);
    expect(error).toContain('error [studies/not-confirmed]');
  });

  test('scores what ends well; what diverges is a result too', () => {
    const [lora, explodes] = result.methods;
    expect(lora).toMatchObject({ method: 'lora', failed: 0, trainable: 8192, amongBest: true });
    expect(lora.mean).toBeLessThan(result.baseline!);
    for (const { scores, measured, weightsHash } of lora.runs) {
      expect(scores![0].examples).toHaveLength(6);
      expect(measured!.peakMemory).toBeGreaterThan(50e6);
      expect(measured!.processor).toBeGreaterThan(0);
      expect(weightsHash).toMatch(/^[0-9a-f]{64}$/);
    }
    expect(explodes).toMatchObject({ method: 'explodes', failed: 2 });
    expect(explodes.runs[0]).toMatchObject({
      state: 'diverged',
      reason: expect.stringContaining('not finite'),
    });
    expect(result.verdict.winner).toBeUndefined();
    expect(result.progress).toEqual({ done: 4, total: 4 });
  });

  test('leaves its result, a page and a text', () => {
    expect(JSON.parse(readFileSync(at('first/result.json'), 'utf8'))).toEqual(result);
    expect(readFileSync(at('first/report.html'), 'utf8')).toContain(result.verdict.headline);
    expect(readFileSync(at('first/report.md'), 'utf8')).toContain(`**${result.verdict.headline}**`);
  });

  test('does not run again what another study has run, by the database that the command names', async () => {
    const file = study('second', { methods: ['lora'], store: at('other.duckdb') });
    const second = await compare(file, '--store', at('runs.duckdb'));
    expect(existsSync(at('other.duckdb'))).toBe(false);
    expect(existsSync(at('second/runs'))).toBe(false);
    expect(second.methods[0].runs.map((r) => r.scores)).toEqual(result.methods[0].runs.map((r) => r.scores));
    expect(second.methods[0].runs[0].folder).toContain(at('first'));
  });

  test('a row gives the same bytes again; one that is not there is not invented', async () => {
    const again = JSON.parse(
      await succeed('replay', at('first'), '--row', 'lora/2', '--output', at('again'), '--json'),
    );
    const { weightsHash, scores } = result.methods[0].runs.find((r) => r.seed === 2)!;
    expect(again).toMatchObject({ same: true, changed: [], firstDifference: {} });
    expect(again.weights).toEqual({ before: weightsHash, now: weightsHash });
    expect(again.scores).toEqual([{ metric: 'loss', before: scores![0].mean, now: scores![0].mean }]);
    const { error } = await rankine('replay', at('first'), '--row', 'lora/9');
    expect(error).toContain('error [studies/no-row]');
    expect(error).toContain('lora/default/2');
  });

  test('says where a row is not what it was', async () => {
    const forged = structuredClone(result) as unknown as {
      methods: { runs: { scores?: { examples: number[] }[] }[] }[];
    };
    const [row] = forged.methods[0].runs;
    row.scores![0].examples[3] += 1e-9;
    writeFileSync(at('first/result.json'), JSON.stringify(forged));
    const { code, out } = await rankine(
      ...['replay', at('first'), '--row', result.methods[0].runs[0].key.slice(0, 8)],
      ...['--output', at('forged')],
    );
    writeFileSync(at('first/result.json'), JSON.stringify(result));
    expect(code).toBe(1);
    expect(out).toContain('Not the same bytes.');
    expect(out).toContain('loss: example 4 is the first that differs.');
  });

  test('all its rows give the same bytes again, and its report says so', async () => {
    const all = async (...flags: string[]) => {
      const { code, out } = await rankine('replay', at('first'), '--all', '--json', ...flags);
      return { code, ...JSON.parse(out) };
    };
    expect(await all('--seed', '1')).toMatchObject({ code: 0, rows: 1, same: 1, known: 0, left: 0 });
    expect(await all()).toMatchObject({ code: 0, rows: 2, same: 2, known: 1, differing: [] });
    expect(existsSync(at('first/replays'))).toBe(false);
    const { rows } = JSON.parse(readFileSync(at('first/replays.json'), 'utf8'));
    const [one] = result.methods[0].runs;
    expect(rows[0]).toMatchObject({ row: 'lora/default/1', key: one.key, same: true, changed: [] });
    expect(rows[0].weights).toEqual({ before: one.weightsHash, now: one.weightsHash });

    const words = 'Replayed: same bytes, 2 of 2 rows.';
    const reports = () => ['report.html', 'report.md'].map((n) => readFileSync(at(`first/${n}`), 'utf8'));
    for (const report of reports()) expect(report).toContain(words);
    const again = await compare(at('first.json'));
    expect(again.verdict.smallPrint).toBe(words);
    expect(again.methods).toEqual(result.methods);
    for (const report of reports()) expect(report).toContain(words);
    await expect(rankine('replay', at('first'), '--all', '--seed', '9')).resolves.toMatchObject({
      code: 1,
      error: expect.stringContaining('no finished run of seed 9'),
    });
    expect((await rankine('replay', at('first'), '--keep')).error).toContain('error [cli/usage]');
  }, 120_000);

  test('a row that gives other bytes is told, stays, and is no longer claimed', async () => {
    const forged = structuredClone(result) as unknown as {
      methods: { runs: { weightsHash: string; scores?: { examples: number[] }[] }[] }[];
    };
    forged.methods[0].runs[1].weightsHash = 'f'.repeat(64);
    forged.methods[0].runs[1].scores![0].examples[3] += 1e-9;
    writeFileSync(at('first/result.json'), JSON.stringify(forged));
    const { code, out, error } = await rankine('replay', at('first'), '--all', '--parallel', '1');
    expect(code).toBe(1);
    expect(error).toContain('1 of 2 rows were replayed before.');
    expect(out).toContain('Other bytes: lora/default/2.');
    expect(out).toContain('loss: example 4 is the first that differs.');
    expect(readdirSync(at('first/replays'))).toEqual([result.methods[0].runs[1].key.slice(0, 16)]);
    const { verdict, caveats } = JSON.parse(readFileSync(at('first/result.json'), 'utf8')) as StudyResult;
    expect(verdict.smallPrint).toBe('Replayed: same bytes, 1 of 2 rows; other bytes: lora/default/2.');
    expect(caveats.join()).toContain('lora/default/2 gave other bytes');
    writeFileSync(at('first/result.json'), JSON.stringify(result));
  });

  test('gives its adapter', async () => {
    await succeed('export', at('first'), '--output', at('adapter'));
    expect(JSON.parse(readFileSync(at('adapter/adapter_config.json'), 'utf8'))).toMatchObject({ r: 8 });
    await succeed('export', at('first'), '--row', 'lora/1', '--output', at('adapter-1'));
    const bytes = (name: string) => readFileSync(at(`${name}/adapter_model.safetensors`));
    const runs = result.methods[0].runs.map((r) =>
      readFileSync(join(r.folder, 'adapter/adapter_model.safetensors')),
    );
    expect(runs.some((own) => own.equals(bytes('adapter')))).toBe(true);
    expect(runs[0].equals(bytes('adapter-1'))).toBe(true);
  });
});

test('a study that was killed goes on from the update in flight, to the bytes of one that was not', async () => {
  const options = { methods: ['lora'], seeds: 1, parallel: 1 };
  const long = (name: string) => {
    const file = study(name, { ...options, store: at(`${name}.duckdb`) });
    const content = JSON.parse(readFileSync(file, 'utf8'));
    Object.assign(content.recipe, { steps: 150, logEvery: 1, saveEvery: 1000 });
    writeFileSync(file, JSON.stringify(content));
    return file;
  };
  const { child, ended } = startRankine('compare', long('killed'), '--yes', '--json');
  const runs = at('killed/runs');
  const step = () => {
    const [key] = existsSync(runs) ? readdirSync(runs) : [];
    const file = key === undefined ? '' : join(runs, key, 'metrics.jsonl');
    return existsSync(file) ? (readFileSync(file, 'utf8').match(/"train\/loss"/g)?.length ?? 0) : 0;
  };
  await expect.poll(step, { timeout: 60_000, interval: 20 }).toBeGreaterThan(10);
  const reached = step();
  child.kill('SIGKILL');
  await ended;
  const checkpoints = join(runs, readdirSync(runs)[0], 'checkpoints');
  const whole = () =>
    existsSync(checkpoints) ? readdirSync(checkpoints).filter((name) => /^step-\d+$/.test(name)) : [];
  // Nothing asked for a checkpoint this early: the run itself saw that its study was gone.
  await expect.poll(whole, { timeout: 20_000 }).toHaveLength(1);
  const saved = Number(whole()[0].slice('step-'.length));
  expect(saved).toBeGreaterThanOrEqual(reached);
  expect(saved).toBeLessThan(150);
  const [resumed, unbroken] = [await compare(at('killed.json')), await compare(long('whole'))];
  const [one, other] = [resumed.methods[0].runs[0], unbroken.methods[0].runs[0]];
  expect(one.weightsHash).toBe(other.weightsHash);
  expect(one.scores).toEqual(other.scores);
}, 120_000);

test('a repetition of all rows that was stopped goes on, to the same bytes', async () => {
  const stop = new AbortController();
  const [row] = JSON.parse(readFileSync(at('whole/result.json'), 'utf8')).methods[0].runs;
  const folder = join(at('whole/replays'), row.key.slice(0, 16));
  const stopped = await replayAll(
    at('whole'),
    {},
    {
      signal: stop.signal,
      emit: (event) => event.type === 'progress' && event.event.type === 'step' && stop.abort(),
    },
  );
  expect(stopped).toMatchObject({ rows: 1, same: 0, left: 1, failed: [] });
  const [step] = readdirSync(join(folder, 'checkpoints')).filter((name) => /^step-\d+$/.test(name));
  expect(Number(step.slice('step-'.length))).toBeLessThan(150);
  const starts: number[] = [];
  const rest = await replayAll(
    at('whole'),
    { keep: true },
    {
      signal: new AbortController().signal,
      emit: (event) =>
        event.type === 'progress' && event.event.type === 'start' && starts.push(event.event.from),
    },
  );
  expect(rest).toMatchObject({ same: 1, left: 0 });
  expect(starts).toEqual([Number(step.slice('step-'.length))]);
  expect(existsSync(folder)).toBe(true);
}, 120_000);
