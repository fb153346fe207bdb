export {
  type CompileOptions,
  createEngine,
  type Device,
  type Engine,
  type EngineOptions,
  type Executable,
} from './engine.ts';
export type { Feeds } from './feeds.ts';
export { Ledger, type MemoryKind } from './ledger.ts';
export { compileLoop, type Loop } from './loop.ts';
export { sumOfSquares } from './sum-of-squares.ts';
export { isGiven, viewsOf } from './views.ts';
export { planWorkspace } from './workspace.ts';
