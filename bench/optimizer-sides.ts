import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { OptimizerModel, OptimizerRow } from './optimizer-rows.ts';
import { rowRecipe } from './optimizer-rows.ts';
import { type ProcessSide, processSide } from './side.ts';

const at = (path: string) => fileURLToPath(new URL(path, import.meta.url));

/** Updates of the runs whose first ones are timed: what schedules, turns and predictions go by. */
export const RUN = 2000;

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

/** The run that rows are measured beside: it stays between them, and moves once between every two. */
export interface Beside {
  /** Does the work between two updates of the run; their milliseconds, and the run's peak in bytes. */
  around<T>(
    row: OptimizerRow,
    work: () => Promise<T>,
  ): Promise<{ result: T; ordinary: number[]; peak?: number }>;
  end(): Promise<void>;
}

export function besideSides(rows: readonly OptimizerRow[], model: OptimizerModel): Beside {
  let current: { name: string; side: ProcessSide; last: number; peak?: number } | undefined;
  const start = async (name: string) => {
    await current?.side.end();
    const side = ourSide(rows.find((row) => row.name === name)!, model);
    await side.update();
    return { name, side, last: await side.update(), peak: undefined as number | undefined };
  };
  return {
    async around({ beside }, work) {
      const run = current?.name === beside ? current : await start(beside);
      current = run;
      const before = run.last;
      const result = await work();
      run.last = await run.side.update();
      // Of few updates, as of the rows themselves.
      run.peak ??= run.side.peak();
      return { result, ordinary: [before, run.last], peak: run.peak };
    },
    end: async () => current?.side.end(),
  };
}
