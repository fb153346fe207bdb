import type { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-common';
import type { NDArray, TypedArray } from '../graph/array.ts';
import { zeros } from '../graph/array.ts';
import { type InputSpec, type Program, simplify, toOnnx } from '../graph/index.ts';
import type { TensorType } from '../graph/tensor.ts';
import { checkFeeds, checkOutputs, covers, type Feeds, overlap } from './feeds.ts';
import { inPlace, type MayOverwrite } from './in-place.ts';
import { Ledger } from './ledger.ts';
import { loadRuntime, type Runtime } from './runtime.ts';
import { type PlaceResults, SharedMemory } from './shared-memory.ts';
import { runWithheld, WITHHELD } from './withheld.ts';
import { planWorkspace, type Workspace } from './workspace.ts';

export type Device = 'cpu' | 'cuda' | 'webgpu' | 'coreml' | 'dml' | 'wasm';

export interface EngineOptions {
  /** Where programs run. Default `cpu` in Node, `wasm` in a browser. */
  device?: Device;
  /** Threads inside one operator; default: all cores. Results are reproducible for one thread count. */
  threads?: number;
}

/** A program ready to run. */
export interface Executable {
  readonly inputs: readonly InputSpec[];
  /**
   * Runs once. Every input must be fed, with its shape and type, and nothing else.
   * @param into arrays that outputs are written into, by output name; others are allocated
   */
  run(feeds: Feeds, into?: Feeds): Promise<Record<string, NDArray>>;
  /** Lets go of the program, which may not run any more; its session goes with the last program that shares it. */
  release(): Promise<void>;
}

/** Compiles and runs programs on one device. Programs of one structure share one compiled session. */
export interface Engine {
  readonly device: Device;
  readonly threads: number;
  readonly ledger: Ledger;
  /** Compiled sessions that are held: programs of one structure share one. */
  readonly sessions: number;
  compile(program: Program, options?: CompileOptions): Promise<Executable>;
  /** Releases every compiled session. */
  dispose(): Promise<void>;
}

export interface CompileOptions {
  /**
   * Keep the memory that a run needed for the next run (default true). Each session keeps its own: several large
   * programs that run in turn would hold all their peaks at once. Of little weight where results lie in a workspace.
   */
  arena?: boolean;
}

export async function createEngine(options: EngineOptions = {}): Promise<Engine> {
  const runtime = await loadRuntime(options);
  const sessions = new Map<string, SharedSession>();
  const ledger = new Ledger();
  const memory = new SharedMemory(runtime.tensor);
  return {
    device: runtime.device,
    threads: runtime.threads,
    ledger,
    get sessions() {
      return sessions.size;
    },
    async compile(program, compileOptions = {}) {
      const simplified = simplify(program);
      const workspace = runtime.withholds ? planWorkspace(simplified) : undefined;
      const { bytes, inputs, outputs, results } = toOnnx(simplified, {
        threads: runtime.device === 'cpu' ? runtime.threads : 1,
        ...(runtime.withholds && { sequence: WITHHELD }),
        ...(workspace && { ...workspace, results: workspace.results.map(({ tensor }) => tensor) }),
      });
      const { arena = true } = compileOptions;
      // ONNX Runtime may not rewrite a program whose operators wait for each other.
      const plan = { arena, rewrite: !workspace || workspace.waits.size === 0 };
      const key = `${await digest(bytes)}${JSON.stringify(plan)}`;
      let shared = sessions.get(key);
      if (!shared) {
        shared = { session: runtime.createSession(bytes, plan), users: 0 };
        sessions.set(key, shared);
        shared.session.catch(() => sessions.delete(key));
      }
      shared.users++;
      const names = {
        inputs,
        outputs,
        mayOverwrite: overwriting(simplified, workspace),
        placed: workspace && memory.place(workspace, results),
      };
      const run = runner(runtime, await shared.session, program, names);
      return { inputs: program.inputs, run, release: once(() => leave(sessions, key)) };
    },
    async dispose() {
      for (const { session } of sessions.values()) await (await session).release();
      sessions.clear();
      memory.release();
    },
  };
}

/** An output's array that results lie in is written long before the operator that gives the output. */
function overwriting(p: Program, workspace: Workspace | undefined): MayOverwrite {
  const filled = new Set(workspace?.results.map(({ at }) => at));
  const may = inPlace(p);
  return (output, input) => !filled.has(output) && may(output, input);
}

/** A compiled session and how many executables run it. */
interface SharedSession {
  readonly session: Promise<InferenceSession>;
  users: number;
}

/** One user less of a session, which is released after the last. */
async function leave(sessions: Map<string, SharedSession>, key: string): Promise<void> {
  const shared = sessions.get(key);
  if (!shared || --shared.users > 0) return;
  sessions.delete(key);
  await (await shared.session).release();
}

function once(act: () => Promise<void>): () => Promise<void> {
  let done: Promise<void> | undefined;
  return () => {
    done ??= act();
    return done;
  };
}

type NameMap = readonly { name: string; onnx: string }[];

interface Names {
  readonly inputs: NameMap;
  readonly outputs: NameMap;
  readonly mayOverwrite: MayOverwrite;
  /** Where intermediate results go that are outputs too, given where the named outputs go. */
  readonly placed?: PlaceResults;
}

function runner(
  runtime: Runtime,
  session: InferenceSession,
  program: Program,
  { inputs, outputs, mayOverwrite, placed }: Names,
): Executable['run'] {
  return async (feeds, into = {}) => {
    checkFeeds(program.inputs, feeds);
    checkOutputs(program.outputs, into);
    const ortFeeds: Record<string, OrtTensor> = {};
    for (const { name, onnx } of inputs) ortFeeds[onnx] = runtime.tensor(feeds[name]);
    const direct = runtime.writesOutputs ? directOutputs(feeds, into, mayOverwrite) : new Set();
    const fetches: Record<string, OrtTensor | null> = {};
    const named: Record<string, NDArray> = {};
    for (const { name, onnx } of outputs) {
      if (direct.has(name)) named[name] = into[name];
      else if (runtime.withholds)
        named[name] = zeros(program.outputs[name].shape, program.outputs[name].dtype);
      fetches[onnx] = named[name] ? runtime.tensor(named[name]) : null;
    }
    if (runtime.withholds) {
      Object.assign(fetches, placed?.(named));
      await runWithheld(session, ortFeeds, fetches as Record<string, OrtTensor>);
    } else {
      const results = await session.run(ortFeeds, fetches);
      for (const { name, onnx } of outputs)
        named[name] ??= await received(program.outputs[name], results[onnx]);
    }
    for (const [name, array] of Object.entries(into)) {
      if (named[name] === array) continue;
      array.data.set(named[name].data as never);
      named[name] = array;
    }
    return named;
  };
}

/**
 * Outputs that the session may write into the caller's array itself. One that shares memory with another output, or with
 * a feed that it may not be written over, is not among them: something could still read what is written over.
 */
function directOutputs(feeds: Feeds, into: Feeds, mayOverwrite: MayOverwrite): Set<string> {
  // By buffer: only arrays of one buffer can share memory, and a step may have thousands.
  const taken = new Map<ArrayBufferLike, { array: NDArray; feed?: string }[]>();
  const take = (array: NDArray, feed?: string) => {
    const { buffer } = array.data;
    const others = taken.get(buffer);
    if (others) others.push({ array, feed });
    else taken.set(buffer, [{ array, feed }]);
  };
  for (const [name, array] of Object.entries(feeds)) take(array, name);
  const direct = new Set<string>();
  for (const [name, array] of Object.entries(into)) {
    const allowed = (other: { array: NDArray; feed?: string }) =>
      other.feed !== undefined && covers(array, other.array) && mayOverwrite(name, other.feed);
    const others = taken.get(array.data.buffer) ?? [];
    if (others.every((other) => !overlap(array, other.array) || allowed(other))) direct.add(name);
    take(array);
  }
  return direct;
}

async function received({ shape, dtype }: TensorType, result: OrtTensor): Promise<NDArray> {
  return { shape, dtype, data: (await result.getData()) as TypedArray };
}

async function digest(bytes: Uint8Array): Promise<string> {
  const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes as Uint8Array<ArrayBuffer>));
  return Array.from(hash, (b) => b.toString(16).padStart(2, '0')).join('');
}
