import { cpus } from 'node:os';
import { type Predicted, predictor } from './optimizer-predictions.ts';
import {
  type OptimizerRecord,
  type OptimizerRecords,
  openRecords,
  type Round,
  type Timed,
} from './optimizer-records.ts';
import {
  type OptimizerModel,
  type OptimizerRow,
  optimizerModels,
  optimizerRows,
  rowRecipe,
} from './optimizer-rows.ts';
import {
  type Beside,
  type BesideRun,
  besideSides,
  compileProcess,
  ourSide,
  pytorchSide,
  SETTLING,
} from './optimizer-sides.ts';
import { HEADER, optimizerLine } from './optimizer-table.ts';
import type { ProcessSide } from './side.ts';

/** First update, which compiles; refreshes fall neither on it nor on the ordinary ones, nor any form's warm-up. */
const WARM = 2;
const ORDINARY = 31;

export interface OptimizerTable {
  /** Optimizers and weight forms; all where it is empty. */
  readonly methods: readonly string[];
  readonly models?: readonly string[];
  readonly rounds: number;
  /** A Python with torch, transformers, galore_torch and bitsandbytes; without it PyTorch's columns stay empty. */
  readonly python: string | undefined;
  /** JSON file of the measurements: what it has is not measured again. */
  readonly file?: string;
}

interface Sitting extends Pick<OptimizerTable, 'python'> {
  readonly model: OptimizerModel;
  readonly beside: Beside;
  readonly records: OptimizerRecords;
  predict(row: OptimizerRow): Predicted;
  /** Name of a row's record. */
  nameOf(row: OptimizerRow): string;
}

/** Ordinary updates in turns with the run beside, then those with a refresh. */
async function inTurn(
  sides: readonly ProcessSide[],
  beside: BesideRun,
  steps: number,
  refreshAt: readonly number[],
): Promise<{ timed: Timed[]; beside: Round['beside'] }> {
  const ordinary: number[][] = sides.map(() => []);
  const refreshed: number[][] = sides.map(() => []);
  const theirs: number[] = [];
  for (let step = 0; step < steps; step++) {
    for (const [i, side] of sides.entries()) ordinary[i].push(await side.update(ORDINARY + step));
    theirs.push(await beside.update());
  }
  for (const at of refreshAt)
    for (const [i, side] of sides.entries()) refreshed[i].push(await side.update(at));
  return {
    timed: sides.map((side, i) => ({ ordinary: ordinary[i], refreshed: refreshed[i], peak: side.peak() })),
    beside: { ordinary: theirs, peak: beside.few() },
  };
}

/** The first and the third update of every block's turn, this beside the standing run's: means over the blocks. */
async function throughTurns(
  side: ProcessSide,
  beside: BesideRun,
  firsts: readonly number[],
): Promise<{ timed: Timed[]; beside: Round['beside'] }> {
  const [first, third, theirs]: number[][] = [[], [], []];
  for (const at of firsts) {
    first.push(await side.update(at));
    await side.update(at + 1);
    third.push(await side.update(at + 2));
    theirs.push(await beside.update());
  }
  return {
    timed: [{ ordinary: [mean(third)], refreshed: [mean(first)], peak: side.peak() }],
    beside: { ordinary: theirs, peak: beside.few() },
  };
}

function mean(values: readonly number[]): number {
  return values.reduce((a, b) => a + b) / values.length;
}

/** The update that compiles, and some ordinary ones. */
async function settle(side: ProcessSide): Promise<void> {
  await side.update(WARM);
  for (let i = SETTLING; i > 0; i--) await side.update(ORDINARY - i);
}

/** PyTorch's side of a row, warmed up; undefined where it has none, or it does not run here. */
async function warmPytorch(
  side: ProcessSide | undefined,
  { name }: OptimizerRow,
): Promise<ProcessSide | undefined> {
  try {
    if (side) await settle(side);
    return side;
  } catch (error) {
    console.error(`${name}: ${(error as Error).message}`);
    return undefined;
  }
}

/** One round of a row: the record with it. */
async function measureRound(row: OptimizerRow, sitting: Sitting): Promise<OptimizerRecord> {
  const { model, python, records, predict, nameOf } = sitting;
  const started = [ourSide(row, model), ...(python && row.pytorch ? [pytorchSide(python, row, model)] : [])];
  const [own, theirs] = started;
  try {
    // Meanwhile the processes load.
    const { refreshAt, ...predicted } = predict(row);
    await settle(own);
    const warm = await warmPytorch(theirs, row);
    const sides = warm ? [own, warm] : [own];
    const standing = await sitting.beside.runFor(row);
    const { timed, beside } = row.turns
      ? await throughTurns(own, standing, refreshAt)
      : await inTurn(sides, standing, model.steps, refreshAt);
    const [ours, pytorch] = timed;
    const state = Number(await own.ask('state'));
    const recipe = rowRecipe(row, model);
    const before: readonly Round[] = records.get(nameOf(row), recipe)?.rounds ?? [];
    return { recipe, predicted, state, rounds: [...before, { ours, pytorch, beside }] };
  } finally {
    for (const side of started) await side.end();
  }
}

async function measureRow(row: OptimizerRow, rounds: number, sitting: Sitting): Promise<void> {
  const { model, records, nameOf } = sitting;
  const done = () => records.get(nameOf(row), rowRecipe(row, model))?.rounds.length ?? 0;
  while (done() < rounds) await records.put(nameOf(row), await measureRound(row, sitting));
}

async function modelTable(key: string, table: OptimizerTable, records: OptimizerRecords): Promise<void> {
  const model = optimizerModels[key];
  const rows = optimizerRows(model);
  const nameOf = ({ name }: OptimizerRow) => `${key}/${name}`;
  const beside = besideSides(rows, model);
  const sitting = { model, python: table.python, records, beside, predict: predictor(model), nameOf };
  const recordOf = (name: string) => {
    const row = rows.find((r) => r.name === name)!;
    return { row, record: records.get(nameOf(row), rowRecipe(row, model)) };
  };
  console.log(`\n${model.title}, ${model.batch.join('×')} tokens\n\n${HEADER}`);
  for (const row of rows) {
    if (table.methods.length > 0 && !table.methods.includes(row.method)) continue;
    try {
      await measureRow(row, table.rounds, sitting);
      console.log(optimizerLine(row, recordOf));
    } catch (error) {
      console.log(`| ${row.name} | failed: ${(error as Error).message} |`);
    }
  }
  await beside.end();
}

/** @throws Error naming what there is */
function checkNames(kind: string, given: readonly string[], known: readonly string[]): void {
  const unknown = given.find((name) => !known.includes(name));
  if (unknown !== undefined) throw new Error(`There is no ${kind} ${unknown}: ${known.join(', ')}.`);
}

/**
 * Prints one row a method: its update as a multiple of AdamW's here and of PyTorch's with the same method, and the peak
 * memory of the process. A new basis or turn is timed by itself and spread over the updates until the next.
 */
export async function optimizerTable(table: OptimizerTable): Promise<void> {
  const models = table.models ?? ['60m', 'gpt2'];
  checkNames('model', models, Object.keys(optimizerModels));
  const known = optimizerRows(optimizerModels.twin).map(({ method }) => method);
  checkNames('method', table.methods, [...new Set(known)]);
  const records = await openRecords(table.file);
  compileProcess();
  console.log(
    `${cpus()[0].model}, 2 threads, ${table.rounds} rounds, ${new Date().toISOString().slice(0, 10)}`,
  );
  for (const key of models) await modelTable(key, table, records);
}
