export * from './architecture.ts';
export { type AttentionOptions, attention, MASKED, mergeHeads, splitHeads } from './attention.ts';
export { labelCount, type ModelConfig, withLabels } from './config.ts';
export * from './context.ts';
export { type LoadOptions, loadModel, modelFrom } from './load.ts';
export { createModel, drawParameter, type Model } from './model.ts';
export { architectureOf, knownArchitectures } from './registry.ts';
