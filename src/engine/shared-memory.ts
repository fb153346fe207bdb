import type { Tensor as OrtTensor } from 'onnxruntime-common';
import { arrayIn, type NDArray } from '../graph/array.ts';
import type { Workspace } from './workspace.ts';

/** Tensors for a workspace's results by their ONNX names, given the arrays of the program's outputs. */
export type PlaceResults = (outputs: Readonly<Record<string, NDArray>>) => Record<string, OrtTensor>;

/**
 * Memory that programs use in turn. A run leaves nothing in it for the next. It is taken in pieces when it is first used,
 * and stays: a system counts of a piece what has been written to.
 */
export class SharedMemory {
  private readonly wrap: (array: NDArray) => OrtTensor;
  private readonly pieces: ArrayBuffer[] = [];

  constructor(wrap: (array: NDArray) => OrtTensor) {
    this.wrap = wrap;
  }

  /** @param names of the results in the ONNX model */
  place({ piece, results }: Workspace, names: readonly string[]): PlaceResults {
    const named = results.map(({ tensor, at }, i) => ({ name: names[i], tensor, at }));
    const inside: Record<string, OrtTensor> = {};
    return (outputs) => {
      const tensors: Record<string, OrtTensor> = {};
      for (const { name, tensor, at } of named) {
        const { shape, dtype } = tensor;
        if (typeof at === 'string') tensors[name] = this.wrap({ ...outputs[at], shape });
        else
          tensors[name] = inside[name] ??= this.wrap(
            arrayIn(this.piece(Math.floor(at / piece), piece), at % piece, dtype, shape),
          );
      }
      return tensors;
    };
  }

  /** Lets go of the memory; programs that have run hold theirs. */
  release(): void {
    this.pieces.length = 0;
  }

  private piece(index: number, bytes: number): ArrayBuffer {
    if (!(this.pieces[index]?.byteLength >= bytes)) this.pieces[index] = new ArrayBuffer(bytes);
    return this.pieces[index];
  }
}
