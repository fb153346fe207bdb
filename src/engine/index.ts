export {
  byteSize,
  type CompileOptions,
  createEngine,
  type Device,
  type Engine,
  type EngineOptions,
  type Executable,
  type Feeds,
} from './engine.ts';
export { Ledger, type MemoryKind } from './ledger.ts';
export { compileLoop, type Loop } from './loop.ts';
