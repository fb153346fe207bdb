import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { OptimizerModel, OptimizerRow } from './optimizer-rows.ts';
import { rowRecipe } from './optimizer-rows.ts';
import { type ProcessSide, processSide } from './side.ts';

const at = (path: string) => fileURLToPath(new URL(path, import.meta.url));

/** Updates of the runs whose first ones are timed: what schedules, turns and predictions go by. */
export const RUN = 2000;

/** Updates after the one that compiles that are not timed: memory that a process asks for the first time comes slowly. */
export const SETTLING = 3;

/** Compiles what the measured processes run, into an ignored folder. */
export function compileProcess(): void {
  const compiler = at('../node_modules/typescript/bin/tsc');
  execFileSync(process.execPath, [compiler, '-p', at('tsconfig.json')], { stdio: ['ignore', 2, 2] });
}

/** A row's run on a model. */
export function ourSide(row: OptimizerRow, model: OptimizerModel): ProcessSide {
  const task = { config: model.config, recipe: rowRecipe(row, model), total: RUN };
  return processSide(process.execPath, [
    at('../runs/bench/bench/optimizer-process.js'),
    JSON.stringify(task),
  ]);
}

/** The same method in PyTorch. */
export function pytorchSide(python: string, { method, refreshes }: OptimizerRow, model: OptimizerModel) {
  const { config, batch, rank } = model;
  const task = { model: config, batch, method, rank, gap: refreshes[0]?.every };
  return processSide(python, [at('pytorch_optimizer.py'), JSON.stringify(task)]);
}

/** The runs that rows are measured beside: one at a time, which stays between the rows. */
export interface Beside {
  /** The run for a row, as far on as the row's is when it is timed. */
  runFor(row: OptimizerRow): Promise<BesideRun>;
  end(): Promise<void>;
}

export interface BesideRun extends ProcessSide {
  /** Peak after as few updates as the rows have, in bytes. */
  readonly few: () => number | undefined;
}

export function besideSides(rows: readonly OptimizerRow[], model: OptimizerModel): Beside {
  let current: { name: string; run: BesideRun } | undefined;
  const start = async (name: string) => {
    const side = ourSide(rows.find((row) => row.name === name)!, model);
    for (let i = 0; i < 1 + SETTLING; i++) await side.update();
    let peak: number | undefined;
    return { ...side, few: () => (peak ??= side.peak()) };
  };
  return {
    async runFor({ beside: name }) {
      if (current?.name === name) return current.run;
      await current?.run.end();
      current = { name, run: await start(name) };
      return current.run;
    },
    end: async () => current?.run.end(),
  };
}
