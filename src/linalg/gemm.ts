import { RankineError } from '../errors.ts';
import type { Matrix, Real } from './matrix.ts';
import { type Block, blockLength, packA, packB, type View } from './pack.ts';
import {
  A_PACK,
  B_PACK,
  C_STRIP,
  DEPTH,
  type Kernels,
  kernels,
  ownKernels,
  TILE_ROWS,
} from './wasm-kernels.ts';

/** Columns packed at a time; DEPTH rows of them fill the second-level cache. */
const COLUMNS = 1024;

/**
 * C += alpha A B with A of m x k, B of k x n and C of m x n (not transposed). Blocks of A and B are packed into the
 * memory of the SIMD kernels (Goto and van de Geijn 2008), so the operands may lie anywhere. Arithmetic in the
 * element type of C, sums in a fixed order.
 */
export function gemm(m: number, n: number, k: number, alpha: number, a: View, b: View, c: View): void {
  const tools = toolsFor(kernels(), c.data);
  for (const block of blocks(n, k)) {
    packB(tools.memory, B_PACK / tools.bytes, b, block, tools.width);
    multiplyBlock(tools, B_PACK, m, block, alpha, a, c);
  }
}

/** The kernel of an element type: its panels are `width` columns wide. */
interface Tools {
  readonly memory: Real;
  readonly bytes: number;
  readonly width: number;
  readonly strip: Kernels['strip32'];
}

function toolsFor({ memory, strip32, strip64 }: Kernels, like: Real): Tools {
  return like instanceof Float32Array
    ? { memory: new Float32Array(memory.buffer), bytes: 4, width: 8, strip: strip32 }
    : { memory: new Float64Array(memory.buffer), bytes: 8, width: 4, strip: strip64 };
}

/** The blocks of a k x n matrix that are packed at a time. */
function* blocks(n: number, k: number): Generator<Block> {
  for (let j0 = 0; j0 < n; j0 += COLUMNS)
    for (let l0 = 0; l0 < k; l0 += DEPTH)
      yield { l0, depth: Math.min(DEPTH, k - l0), j0, cols: Math.min(COLUMNS, n - j0) };
}

/** C += alpha A B for one block of B that lies packed at the address `at`. */
function multiplyBlock(
  { memory, bytes, width, strip }: Tools,
  at: number,
  m: number,
  { l0, depth, j0, cols }: Block,
  alpha: number,
  a: View,
  c: View,
): void {
  const panels = Math.ceil(cols / width);
  for (let i0 = 0; i0 < m; i0 += TILE_ROWS) {
    const rows = Math.min(TILE_ROWS, m - i0);
    packA(memory, A_PACK / bytes, a, i0, rows, l0, depth);
    strip(A_PACK, at, C_STRIP, (depth + 1) >> 1, panels, panels * width * bytes);
    addStrip(memory, C_STRIP / bytes, panels * width, rows, cols, alpha, c, c.offset + i0 * c.stride + j0);
  }
}

function addStrip(
  packed: Real,
  from: number,
  packedStride: number,
  rows: number,
  cols: number,
  alpha: number,
  c: View,
  to: number,
): void {
  const { data } = c;
  for (let i = 0; i < rows; i++) {
    const source = from + i * packedStride;
    const target = to + i * c.stride;
    for (let j = 0; j < cols; j++) data[target + j] += alpha * packed[source + j];
  }
}

/**
 * The product op(A) op(B), op being the transpose where asked for.
 * @throws RankineError `linalg/shape` where the inner dimensions differ
 */
export function multiply<T extends Real>(
  a: Matrix<T>,
  b: Matrix<T>,
  { transposeA = false, transposeB = false } = {},
): Matrix<T> {
  const [m, k] = transposeA ? [a.cols, a.rows] : [a.rows, a.cols];
  const [inner, n] = transposeB ? [b.cols, b.rows] : [b.rows, b.cols];
  if (k !== inner)
    throw new RankineError('linalg/shape', `A matrix of ${m}x${k} cannot multiply one of ${inner}x${n}.`);
  const c = zeros(m, n, a.data);
  gemm(m, n, k, 1, view(a, transposeA), view(b, transposeB), view(c));
  return c;
}

/**
 * X -> X op(B) for many X: B is packed once, in a memory of its own that goes with the function. The same sums as
 * `multiply`, bit for bit.
 */
export function multiplierBy<T extends Real>(
  b: Matrix<T>,
  { transposeB = false } = {},
): (x: Matrix<T>) => Matrix<T> {
  const [k, n] = transposeB ? [b.cols, b.rows] : [b.rows, b.cols];
  const { bytes, width } = toolsFor(kernels(), b.data);
  const placed: (Block & { at: number })[] = [];
  let end = B_PACK;
  for (const block of blocks(n, k)) {
    placed.push({ ...block, at: end });
    end += blockLength(block.depth, block.cols, width) * bytes;
  }
  const tools = toolsFor(ownKernels(end), b.data);
  for (const block of placed) packB(tools.memory, block.at / bytes, view(b, transposeB), block, width);
  return (x) => {
    const c = zeros(x.rows, n, b.data);
    for (const block of placed) multiplyBlock(tools, block.at, x.rows, block, 1, view(x), view(c));
    return c;
  };
}

function view({ data, cols }: Matrix, transposed = false): View {
  return { data, offset: 0, stride: cols, transposed };
}

function zeros<T extends Real>(rows: number, cols: number, like: T): Matrix<T> {
  const data = like instanceof Float32Array ? new Float32Array(rows * cols) : new Float64Array(rows * cols);
  return { rows, cols, data: data as T };
}
