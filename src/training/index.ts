export { type Adaptation, adapt, canonicalWeight } from './adaptation.ts';
export * from './answer.ts';
export { mergedWeight, toPeftAdapter, writeAdapter, writeMerged } from './artifacts.ts';
export { modelConfig, openModel } from './base-model.ts';
export * from './best.ts';
export * from './checkpoints.ts';
export { withClassesOfImages } from './classes.ts';
export * from './early-stop.ts';
export type { MemoryEstimate } from './estimate.ts';
export {
  type EstimateRunOptions,
  estimateRun,
  type Predictor,
  predictor,
  type RunEstimate,
} from './estimate-run.ts';
export { createEvaluator, type Evaluation } from './evaluation.ts';
export * from './interrupt.ts';
export * from './load-adapter.ts';
export { type LockHolder, lockHolder, takeLock } from './lock.ts';
export * from './memory.ts';
export * from './metrics.ts';
export * from './progress.ts';
export * from './proposals.ts';
export * from './published.ts';
export {
  type Chosen,
  datasetSpec,
  FULL,
  fullOptions,
  parseRecipe,
  type Recipe,
  type RecipeInput,
  recipeSchema,
} from './recipe.ts';
export { byName, checked } from './recipe-errors.ts';
export { type RunHost, runRecipe, type TrainEvent, type TrainResult } from './run.ts';
export * from './run-folder.ts';
export { runShapes } from './run-shapes.ts';
export * from './schedules.ts';
export { type Feed, openFeed } from './sources.ts';
export { openTensorboard, type TensorboardLog, type TensorboardOptions } from './tensorboard.ts';
export { type TrainOptions, train } from './train.ts';
export { countTrainable, type Trainable, trainables } from './trainables.ts';
export * from './trained-run.ts';
export * from './versions.ts';
