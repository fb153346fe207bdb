import type { InferenceSession, Tensor as OrtTensor, TensorConstructor } from 'onnxruntime-common';
import { RankineError } from '../errors.ts';
import type { NDArray } from '../graph/array.ts';
import type { Device, EngineOptions } from './engine.ts';
import { canWithhold } from './withheld.ts';

/** How a session is made. */
export interface SessionPlan {
  /** See `CompileOptions`. */
  readonly arena: boolean;
  /** Whether ONNX Runtime makes its basic rewrites; the others would cost start-up time, for programs come simplified. */
  readonly rewrite: boolean;
}

/** ONNX Runtime of this platform behind one face. */
export interface Runtime {
  readonly device: Device;
  readonly threads: number;
  createSession(model: Uint8Array, plan: SessionPlan): Promise<InferenceSession>;
  tensor(array: NDArray): OrtTensor;
  /** Whether a run writes into arrays that it is given for its outputs; onnxruntime-web leaves them untouched. */
  readonly writesOutputs: boolean;
  /** Whether programs begin with the output `WITHHELD`. */
  readonly withholds: boolean;
}

interface OrtModule {
  InferenceSession: {
    create(model: Uint8Array, options: InferenceSession.SessionOptions): Promise<InferenceSession>;
  };
  Tensor: TensorConstructor;
}

const inNode = typeof process !== 'undefined' && Boolean(process.versions?.node);

export async function loadRuntime(options: EngineOptions): Promise<Runtime> {
  const device = options.device ?? (inNode ? 'cpu' : 'wasm');
  const threads = options.threads ?? (await cores());
  const ort = await loadModule(device, threads);
  const native = inNode && device !== 'wasm';
  const wrapped = new WeakMap<NDArray, OrtTensor>();
  const runtime = {
    device,
    threads,
    writesOutputs: native,
    async createSession(model: Uint8Array, plan: SessionPlan) {
      try {
        return await ort.InferenceSession.create(model, {
          executionProviders: [device],
          intraOpNumThreads: threads,
          interOpNumThreads: 1,
          graphOptimizationLevel: plan.rewrite ? 'basic' : 'disabled',
          // One block for all buffers, planned ahead, raised the peak of every program and made none faster.
          enableMemPattern: false,
          enableCpuMemArena: plan.arena,
          executionMode: 'sequential',
          // A session's threads else go on spinning after its run, and hold up those of the session that runs next:
          // GaLore's updates of LLaMA 60M took three times as long on two cores.
          ...(native && { extra: { session: { force_spinning_stop: '1' } } }),
          logSeverityLevel: 3,
        });
      } catch (cause) {
        throw unavailable(device, cause);
      }
    },
    tensor(array: NDArray) {
      let tensor = wrapped.get(array);
      if (!tensor) {
        tensor = new ort.Tensor(array.dtype as 'float32', array.data as Float32Array, array.shape);
        wrapped.set(array, tensor);
      }
      return tensor;
    },
  };
  return { ...runtime, withholds: device === 'cpu' && (await triedToWithhold(runtime)) };
}

let tried: Promise<boolean> | undefined;

/** Tries once in a process. */
function triedToWithhold(runtime: Pick<Runtime, 'createSession' | 'tensor'>): Promise<boolean> {
  tried ??= canWithhold(
    (model) => runtime.createSession(model, { arena: false, rewrite: true }),
    runtime.tensor,
  );
  return tried;
}

async function loadModule(device: Device, threads: number): Promise<OrtModule> {
  if (inNode && device !== 'wasm') return (await import('onnxruntime-node')) as unknown as OrtModule;
  const web = await import('onnxruntime-web');
  web.env.wasm.numThreads = threads;
  return web as unknown as OrtModule;
}

async function cores(): Promise<number> {
  if (!inNode) return navigator.hardwareConcurrency ?? 1;
  const { availableParallelism } = await import('node:os');
  return availableParallelism();
}

function unavailable(device: Device, cause: unknown): Error {
  const reason = cause instanceof Error ? cause.message : String(cause);
  if (device === 'cpu' || device === 'wasm')
    return new Error(`internal: the program did not compile: ${reason}`, { cause });
  return new RankineError(
    'engine/device',
    `The device "${device}" cannot run this program here: ${reason}`,
    'Use the device cpu, or install the execution provider.',
    { cause },
  );
}
