import { stateBytes, type UpdateRule } from '../src/optimizers/index.ts';
import { estimateMemory, type RunningMemory, runningMemory } from '../src/training/estimate.ts';
import { runShapes } from '../src/training/run-shapes.ts';
import { spendsTogether } from '../src/training/update.ts';
import { type OptimizerModel, type OptimizerRow, rowRecipe } from './optimizer-rows.ts';
import { RUN } from './optimizer-sides.ts';
import { randomShape } from './training-side.ts';

/** What is known of a row's run without running it. */
export interface Predicted {
  /** Bytes of the whole process at its peak, and of optimizer state. */
  readonly peak: number;
  readonly state: number;
  /** Number of an update that has each kind of refresh: of blocks that take turns, where they hold the most state. */
  readonly refreshAt: readonly number[];
}

/** Predicts a model's rows; the programs that several have in common are traced once. */
export function predictor(model: OptimizerModel): (row: OptimizerRow) => Predicted {
  const traced = new Map<string, RunningMemory>();
  return (row) => {
    const recipe = rowRecipe(row, model);
    const execution = recipe.execution === 'blockwise' ? 'blockwise' : 'whole';
    const shapes = runShapes(recipe, model.config);
    const shape = randomShape(recipe);
    const key = JSON.stringify([recipe.adapter, execution]);
    const running = traced.get(key) ?? runningMemory(shapes, shape, { execution, evaluates: false });
    traced.set(key, running);
    const together = spendsTogether(recipe, shapes.adaptation?.steps);
    const options = {
      execution,
      together,
      sums: false,
      evaluates: false,
      formState: shapes.formState,
      steps: RUN,
    } as const;
    const { peak, optimizer } = estimateMemory(shapes, shapes.rules, shape, options, running);
    const refreshAt = row.refreshes.map(({ every }) => heaviest(shapes.rules, every));
    return { peak, state: optimizer, refreshAt };
  };
}

/** Of the updates 1 + every, 1 + 2 every, … the first after which rules hold the most. */
function heaviest(rules: readonly UpdateRule[], every: number): number {
  const candidates = Array.from({ length: Math.floor((RUN - 1) / every) }, (_, i) => (i + 1) * every + 1);
  const bytes = candidates.map((step) => stateBytes(rules, step));
  return candidates[bytes.indexOf(Math.max(...bytes))];
}
