import { assemble, op, type WasmFunction } from '../engine/wasm-module.ts';

/** Rows and vectors a row of the tile of C that stays in registers: 4 x 4 in float64, 4 x 8 in float32. */
export const TILE_ROWS = 4;
const TILE_VECTORS = 2;
/** Rows that the matrix-vector kernels take at once. */
export const GROUP = 4;
/** Depth of a packed block of A and B. */
export const DEPTH = 256;
/** Bytes of a row of packed C: 1024 columns in float64. */
const STRIP_BYTES = 8192;

/** Addresses in the memory of the module. */
export const A_PACK = 0;
export const C_STRIP = A_PACK + TILE_ROWS * DEPTH * 8;
export const B_PACK = C_STRIP + TILE_ROWS * STRIP_BYTES;
/** From here on the memory is the caller's. */
export const WORKSPACE = B_PACK + DEPTH * STRIP_BYTES;
const PAGE = 65536;

export interface Kernels {
  /** Packed C strip := packed A strip (4 x depth) times `panels` packed panels of B; rows of C are `strideBytes` apart. */
  strip32(a: number, b: number, c: number, pairs: number, panels: number, strideBytes: number): void;
  strip64(a: number, b: number, c: number, pairs: number, panels: number, strideBytes: number): void;
  /** The 4 (or 1) doubles at `out` := rows at `a` times the vector of `pairs` pairs and (`odd`) one more double at `x`. */
  dots4(out: number, a: number, strideBytes: number, pairs: number, odd: number, x: number): void;
  dots1(out: number, a: number, strideBytes: number, pairs: number, odd: number, x: number): void;
  /** The vector at `y` += the 4 (or 1) rows at `a`, weighted with the doubles at `weights`. */
  addRows4(y: number, a: number, strideBytes: number, pairs: number, odd: number, weights: number): void;
  addRows1(y: number, a: number, strideBytes: number, pairs: number, odd: number, weights: number): void;
  readonly memory: WebAssembly.Memory;
}

let compiled: WebAssembly.Module | undefined;
let shared: Kernels | undefined;

/** The kernels, compiled at first use; the module is below the 4 KiB that browsers compile at once. */
export function kernels(): Kernels {
  shared ??= ownKernels(WORKSPACE);
  return shared;
}

/** The kernels with a memory of their own, of at least so many bytes, that goes when they go. */
export function ownKernels(bytes: number): Kernels {
  const functions = [strip('f32'), strip('f64'), dots(GROUP), dots(1), addRows(GROUP), addRows(1)];
  compiled ??= new WebAssembly.Module(assemble(functions, 1));
  const own = new WebAssembly.Instance(compiled).exports as unknown as Kernels;
  own.memory.grow(Math.ceil(bytes / PAGE) - 1);
  return own;
}

/** Makes `doubles` elements of workspace and returns the memory as an array; earlier views of it may be detached. */
export function workspace(doubles: number): Float64Array {
  const { memory } = kernels();
  const missing = WORKSPACE + doubles * 8 - memory.buffer.byteLength;
  if (missing > 0) memory.grow(Math.ceil(missing / PAGE));
  return new Float64Array(memory.buffer);
}

const increase = (local: number, by: number[]) => [...op.get(local), ...by, ...op.add, ...op.set(local)];
const decrease = (local: number) => [...op.get(local), ...op.i32(1), ...op.subtract, ...op.set(local)];

function strip(type: 'f32' | 'f64'): WasmFunction {
  const lane = type === 'f32' ? 4 : 8;
  const [a, b, c, pairs, panels, stride, aAt, left, cAt] = [0, 1, 2, 3, 4, 5, 6, 7, 8];
  const [sum, b0, aLane] = [9, 9 + TILE_ROWS * TILE_VECTORS, 9 + TILE_ROWS * TILE_VECTORS + TILE_VECTORS];
  const tile = Array.from({ length: TILE_ROWS }, (_, row) =>
    Array.from({ length: TILE_VECTORS }, (_, v) => ({ row, v, acc: sum + row * TILE_VECTORS + v })),
  );
  const bBytes = TILE_VECTORS * 16;
  const aBytes = TILE_ROWS * lane;
  const step = (half: number) => [
    ...[0, 1].flatMap((v) => [...op.get(b), ...op.load(half * bBytes + 16 * v), ...op.set(b0 + v)]),
    ...tile.flatMap((row, r) => [
      ...[...op.get(aAt), ...op[type].splat(half * aBytes + r * lane), ...op.set(aLane)],
      ...row.flatMap(({ v, acc }) => [
        ...[...op.get(aLane), ...op.get(b0 + v), ...op[type].multiply],
        ...[...op.get(acc), ...op[type].add, ...op.set(acc)],
      ]),
    ]),
  ];
  const body = op.doWhile([
    ...tile.flat().flatMap(({ acc }) => [...op.zero, ...op.set(acc)]),
    ...[...op.get(a), ...op.set(aAt), ...op.get(pairs), ...op.set(left)],
    ...op.doWhile([
      ...[...step(0), ...step(1)],
      ...[...increase(aAt, op.i32(2 * aBytes)), ...increase(b, op.i32(2 * bBytes))],
      ...[...decrease(left), ...op.get(left)],
    ]),
    ...[...op.get(c), ...op.set(cAt)],
    ...tile.flatMap((row) => [
      ...row.flatMap(({ v, acc }) => [...op.get(cAt), ...op.get(acc), ...op.store(16 * v)]),
      ...increase(cAt, op.get(stride)),
    ]),
    ...increase(c, op.i32(bBytes)),
    ...[...decrease(panels), ...op.get(panels)],
  ]);
  return { name: `strip${lane * 8}`, parameters: 6, i32Locals: 3, v128Locals: 11, body };
}

/** Locals 6 … : the addresses of `count` rows, `strideBytes` apart. */
function rowAddresses(count: number, a: number, stride: number): number[] {
  return Array.from({ length: count }, (_, r) =>
    r === 0
      ? [...op.get(a), ...op.set(6)]
      : [...op.get(5 + r), ...op.get(stride), ...op.add, ...op.set(6 + r)],
  ).flat();
}

function dots(count: number): WasmFunction {
  const [out, a, stride, pairs, odd, x] = [0, 1, 2, 3, 4, 5];
  const rows = Array.from({ length: count }, (_, r) => ({ address: 6 + r, acc: 6 + count + r, r }));
  const xVector = 6 + 2 * count;
  const accumulate = (load: number[]) => [
    ...[...op.get(x), ...load, ...op.set(xVector)],
    ...rows.flatMap(({ address, acc }) => [
      ...[...op.get(address), ...load, ...op.get(xVector), ...op.f64.multiply],
      ...[...op.get(acc), ...op.f64.add, ...op.set(acc)],
    ]),
  ];
  const advance = [x, ...rows.map(({ address }) => address)].flatMap((local) => increase(local, op.i32(16)));
  const body = [
    ...rowAddresses(count, a, stride),
    ...op.get(pairs),
    ...op.when(op.doWhile([...accumulate(op.load(0)), ...advance, ...decrease(pairs), ...op.get(pairs)])),
    ...[...op.get(odd), ...op.when(accumulate(op.loadHalf(0)))],
    ...rows.flatMap(({ acc, r }) => [
      ...[...op.get(out), ...op.get(acc), ...op.get(acc), ...op.get(acc), ...op.swapHalves, ...op.f64.add],
      ...op.storeHalf(8 * r),
    ]),
  ];
  return { name: `dots${count}`, parameters: 6, i32Locals: count, v128Locals: count + 1, body };
}

function addRows(count: number): WasmFunction {
  const [y, a, stride, pairs, odd, weights] = [0, 1, 2, 3, 4, 5];
  const rows = Array.from({ length: count }, (_, r) => ({ address: 6 + r, weight: 6 + count + r, r }));
  const sum = (load: number[], store: number[]) => [
    ...[...op.get(y), ...op.get(y), ...load],
    ...rows.flatMap(({ address, weight }) => [
      ...[...op.get(address), ...load, ...op.get(weight), ...op.f64.multiply, ...op.f64.add],
    ]),
    ...store,
  ];
  const advance = [y, ...rows.map(({ address }) => address)].flatMap((local) => increase(local, op.i32(16)));
  const body = [
    ...rowAddresses(count, a, stride),
    ...rows.flatMap(({ weight, r }) => [...op.get(weights), ...op.f64.splat(8 * r), ...op.set(weight)]),
    ...op.get(pairs),
    ...op.when(
      op.doWhile([...sum(op.load(0), op.store(0)), ...advance, ...decrease(pairs), ...op.get(pairs)]),
    ),
    ...[...op.get(odd), ...op.when(sum(op.loadHalf(0), op.storeHalf(0)))],
  ];
  return { name: `addRows${count}`, parameters: 6, i32Locals: count, v128Locals: count, body };
}
