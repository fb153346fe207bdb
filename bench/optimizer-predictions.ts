import { stateBytes, type UpdateRule } from '../src/optimizers/index.ts';
import { estimateMemory, firstSteps, type RunningMemory, runningMemory } from '../src/training/estimate.ts';
import { runShapes } from '../src/training/run-shapes.ts';
import type { Trainable } from '../src/training/trainables.ts';
import { spendsTogether } from '../src/training/update.ts';
import { type OptimizerModel, type OptimizerRow, rowRecipe } from './optimizer-rows.ts';
import { RUN } from './optimizer-sides.ts';
import { randomShape } from './training-side.ts';

/** What is known of a row's run without running it. */
export interface Predicted {
  /** Bytes of the whole process at its peak, and of optimizer state. */
  readonly peak: number;
  readonly state: number;
  /**
   * Number of an update that has each kind of refresh, where rules hold the most state; of blocks that take turns, one
   * for each.
   */
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
    const running = (trainables: readonly Trainable[]) => {
      const key = JSON.stringify([recipe.adapter, execution, trainables.map((t) => t.info.name)]);
      const own = { ...shapes, trainables };
      const known = traced.get(key) ?? runningMemory(own, shape, { execution, evaluates: false });
      traced.set(key, known);
      return known;
    };
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
    const updates = row.refreshes.map(({ every }) => updatesAfter(every));
    const refreshAt = row.turns
      ? updates.flatMap((steps) => firstSteps(shapes.rules, steps))
      : updates.map((steps) => heaviest(shapes.rules, steps));
    return { peak, state: optimizer, refreshAt };
  };
}

/** The updates 1 + every, 1 + 2 every, … of the run. */
function updatesAfter(every: number): number[] {
  return Array.from({ length: Math.floor((RUN - 1) / every) }, (_, i) => (i + 1) * every + 1);
}

/** The first after which rules hold the most. */
function heaviest(rules: readonly UpdateRule[], steps: readonly number[]): number {
  const bytes = steps.map((step) => stateBytes(rules, step));
  return steps[bytes.indexOf(Math.max(...bytes))];
}
