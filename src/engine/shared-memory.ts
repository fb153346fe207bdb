import type { Tensor as OrtTensor } from 'onnxruntime-common';
import { arrayIn, type NDArray } from '../graph/array.ts';
import type { Workspace } from './workspace.ts';

/** Tensors for a workspace's results by their ONNX names, given the arrays of the program's outputs. */
export type PlaceResults = (outputs: Readonly<Record<string, NDArray>>) => Record<string, OrtTensor>;

/** Memory that programs use in turn: as much as the largest workspace needs. A run leaves nothing in it for the next. */
export class SharedMemory {
  private readonly tensor: (of: NDArray) => OrtTensor;
  private bytes = 0;
  private memory = new ArrayBuffer(0);

  constructor(tensor: (of: NDArray) => OrtTensor) {
    this.tensor = tensor;
  }

  /** @param names of the results in the ONNX model */
  place({ bytes, results }: Workspace, names: readonly string[]): PlaceResults {
    this.bytes = Math.max(this.bytes, bytes);
    const inside = results.flatMap(({ tensor, at }, i) =>
      typeof at === 'number' ? [{ tensor, at, name: names[i] }] : [],
    );
    const merged = results.flatMap(({ at }, i) => (typeof at === 'string' ? [{ at, name: names[i] }] : []));
    let memory: ArrayBuffer | undefined;
    let known: Record<string, OrtTensor> = {};
    return (outputs) => {
      if (memory !== this.reserved()) {
        memory = this.reserved();
        known = Object.fromEntries(
          inside.map(({ tensor, at, name }) => [
            name,
            this.tensor(arrayIn(memory!, at, tensor.dtype, tensor.shape)),
          ]),
        );
      }
      return {
        ...known,
        ...Object.fromEntries(merged.map(({ at, name }) => [name, this.tensor(outputs[at])])),
      };
    };
  }

  /** Asked for when it is used: programs that are compiled together then reserve once. */
  private reserved(): ArrayBuffer {
    if (this.memory.byteLength < this.bytes) this.memory = new ArrayBuffer(this.bytes);
    return this.memory;
  }
}
