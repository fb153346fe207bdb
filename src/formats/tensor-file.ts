import type { NDArray, Shape } from '../graph/array.ts';
import type { FileDType } from './file-dtype.ts';

/** What is known of a tensor before its values are read. */
export interface TensorInfo {
  readonly name: string;
  readonly dtype: FileDType;
  readonly shape: Shape;
}

/** A file of named tensors, each read alone when asked for. */
export interface TensorFile {
  /** The path, for messages. */
  readonly file: string;
  /** In the order of the file. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** Free-form strings kept beside the tensors; empty where the format has none. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Reads one tensor, 16-bit floats widened to float32. @throws RankineError `formats/missing-tensor` */
  read(name: string): Promise<NDArray>;
  close(): Promise<void>;
}
