export * from './optimizer.ts';
export * from './pieces.ts';
export { optimizers } from './registry.ts';
