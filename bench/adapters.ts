import { cpus } from 'node:os';
import { createEngine, type Engine } from '../src/engine/index.ts';
import { type AdapterRow, adapterRows } from './adapter-rows.ts';
import { adapterSide, peftSide, SETTING, TOKENS } from './adapter-sides.ts';
import { median } from './median.ts';
import type { Side } from './side.ts';

const WARM = 2;
/** Updates of a turn, after one that is not counted. */
const STEPS = 3;

/**
 * Milliseconds of each side's updates, in turns.
 * @param interval updates from one event of a schedule to the next: a turn counts their mean alone
 */
async function inTurn(sides: readonly Side[], rounds: number, interval?: number): Promise<number[]> {
  const times: number[][] = sides.map(() => []);
  for (const side of sides) await updateTimes(side, WARM * (interval ?? 1));
  for (let round = 0; round < rounds; round++)
    for (const [i, side] of sides.entries()) {
      await side.update();
      const turn = await updateTimes(side, interval ?? STEPS);
      if (interval) times[i].push(turn.reduce((a, b) => a + b) / interval);
      else times[i].push(...turn);
    }
  return times.map(median);
}

async function updateTimes(side: Side, count: number): Promise<number[]> {
  const times: number[] = [];
  for (let i = 0; i < count; i++) times.push(await side.update());
  return times;
}

async function line(engine: Engine, row: AdapterRow, { rounds, python }: AdapterTable): Promise<string> {
  const own = await adapterSide(engine, row.form, { rank: row.rank, ...row.options });
  const lora = await adapterSide(engine, 'lora', { rank: row.rank });
  const theirs = python && row.peft ? [peftSide(python, row.peft)] : [];
  const [ours, plain, peft] = await inTurn([own, lora, ...theirs], rounds, row.interval);
  for (const side of theirs) await side.end();
  const options = Object.entries(row.options ?? {}).map(([name, value]) => `${name} ${value}`);
  const cells = [
    `${row.form}${options.length > 0 ? ` (${options.join(', ')})` : ''}`,
    ours.toFixed(0),
    row.rank,
    (ours / plain).toFixed(2),
    row.most.toFixed(1),
    ((1000 * TOKENS) / ours).toFixed(0),
    peft ? ((1000 * TOKENS) / peft).toFixed(0) : '–',
    peft ? (peft / ours).toFixed(2) : '–',
  ];
  return `| ${cells.join(' | ')} |`;
}

export interface AdapterTable {
  /** Forms; all where it is empty. */
  readonly names: readonly string[];
  readonly rounds: number;
  /** A Python with torch, transformers and peft; without it PEFT's columns stay empty. */
  readonly python: string | undefined;
}

/**
 * Prints one row a weight form: its update as a multiple of plain LoRA's here, and of PEFT's own implementation in
 * PyTorch. The sides take turns: in every round each does a few whole updates (batch, gradients, the form's steps,
 * AdamW), the first of which is not counted; the table gives medians, of means where a row has an interval.
 */
export async function adapterTable(table: AdapterTable): Promise<void> {
  console.log(`${cpus()[0].model}, 2 threads, ${table.rounds} rounds of ${STEPS} updates, ${SETTING}\n`);
  console.log('| form | ms | LoRA of rank | × LoRA | at most | ours, tokens/s | PEFT, tokens/s | ratio |');
  console.log('| --- | --- | --- | --- | --- | --- | --- | --- |');
  for (const row of adapterRows) {
    if (table.names.length > 0 && !table.names.includes(row.form)) continue;
    const engine = await createEngine({ threads: 2 });
    console.log(await line(engine, row, table));
    await engine.dispose();
  }
}
