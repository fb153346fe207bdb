export { type AdapterOptions, adapterOptions, checkRank, resolveOptions } from './options.ts';
export { forms } from './registry.ts';
export { matchesPattern, selectLayers } from './targets.ts';
export * from './weight-form.ts';
