/**
 * Rankine as a library: what the command line does, typed. Rooms can be imported one by one too (`rankine/training`,
 * `rankine/models`, …).
 */
export { type AdapterOptions, forms, type WeightForm } from './adapters/index.ts';
export { loadTokenizer, openDataset, type Tokenizer } from './data/index.ts';
export { createEngine, type Device, type Engine, type EngineOptions } from './engine/index.ts';
export { RankineError } from './errors.ts';
export { resolveDataset, resolveModel } from './formats/index.ts';
export type { NDArray } from './graph/index.ts';
export {
  type Completion,
  type GenerateOptions,
  generate,
  generateStream,
  type LoadOptions,
  loadModel,
  type Model,
  modelInfo,
} from './models/index.ts';
export { type OptimizerMethod, optimizers } from './optimizers/index.ts';
export {
  type Adaptation,
  type Answerer,
  type AnswerOptions,
  adaptedGeneration,
  answer,
  type EstimateRunOptions,
  estimateRun,
  loadAdapter,
  parseRecipe,
  promptTokens,
  type Recipe,
  type RecipeInput,
  type RunEstimate,
  type TrainEvent,
  type TrainOptions,
  type TrainResult,
  textGeneration,
  train,
  writeAdapter,
  writeMerged,
} from './training/index.ts';
