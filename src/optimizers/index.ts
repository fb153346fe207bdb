export { type LiveState, pruneMoments } from './moments.ts';
export * from './optimizer.ts';
export * from './pieces.ts';
export { optimizers } from './registry.ts';
