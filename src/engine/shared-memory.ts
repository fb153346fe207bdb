import type { Tensor as OrtTensor } from 'onnxruntime-common';
import { arrayIn, type NDArray } from '../graph/array.ts';
import type { Workspace } from './workspace.ts';

/** Tensors for a workspace's results by their ONNX names, given the arrays of the program's outputs. */
export type PlaceResults = (outputs: Readonly<Record<string, NDArray>>) => Record<string, OrtTensor>;

/** Memory that programs use in turn: as much as the largest workspace needs. A run leaves nothing in it for the next. */
export class SharedMemory {
  private readonly wrap: (array: NDArray) => OrtTensor;
  private memory = new ArrayBuffer(0);
  private bytes = 0;

  constructor(wrap: (array: NDArray) => OrtTensor) {
    this.wrap = wrap;
  }

  /** @param names of the results in the ONNX model */
  place({ bytes, results }: Workspace, names: readonly string[]): PlaceResults {
    this.bytes = Math.max(this.bytes, bytes);
    const named = results.map(({ tensor, at }, i) => ({ name: names[i], tensor, at }));
    let known: { memory: ArrayBuffer; tensors: Record<string, OrtTensor> } | undefined;
    const inMemory = (memory: ArrayBuffer) => {
      const tensors: Record<string, OrtTensor> = {};
      for (const { name, tensor, at } of named)
        if (typeof at === 'number')
          tensors[name] = this.wrap(arrayIn(memory, at, tensor.dtype, tensor.shape));
      return tensors;
    };
    return (outputs) => {
      const memory = this.reserved();
      if (known?.memory !== memory) known = { memory, tensors: inMemory(memory) };
      const tensors = { ...known.tensors };
      for (const { name, tensor, at } of named)
        if (typeof at === 'string') tensors[name] = this.wrap({ ...outputs[at], shape: tensor.shape });
      return tensors;
    };
  }

  /** Memory is taken when it is used: programs that are compiled one after the other take it once. */
  private reserved(): ArrayBuffer {
    if (this.memory.byteLength < this.bytes) this.memory = new ArrayBuffer(this.bytes);
    return this.memory;
  }
}
