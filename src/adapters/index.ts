export { type AlloraFactor, alloraFields, alloraNorm, rowFactors } from './allora-factor.ts';
export { mergeFlylora } from './flylora-merge.ts';
export {
  type AdapterOptions,
  adapterOptions,
  checkRank,
  type LoraOptions,
  loraOptions,
  resolveOptions,
} from './options.ts';
export { forms } from './registry.ts';
export { matchesPattern, selectLayers } from './targets.ts';
export * from './weight-form.ts';
