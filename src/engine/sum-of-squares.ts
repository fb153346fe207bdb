import { assemble, op } from './wasm-module.ts';

/** Elements that pass through the module's memory at once. */
const CHUNK = 16_384;
/** Sums of two lanes each that do not wait for each other. */
const SUMS = 4;
const START = SUMS * 16;
const PAGES = Math.ceil((START + CHUNK * 4) / 65536);

interface Kernel {
  /** Leaves `SUMS` pairs of float64 sums at address 0, over groups of 2 · SUMS floats. */
  squares(groups: number): void;
  readonly memory: WebAssembly.Memory;
}

let made: { squares: Kernel['squares']; floats: Float32Array; sums: Float64Array } | undefined;

/** Σ xᵢ² in float64; not finite exactly where the array is not. */
export function sumOfSquares(data: Float32Array): number {
  made ??= build();
  const { squares, floats, sums } = made;
  let total = 0;
  for (let at = 0; at < data.length; at += CHUNK) {
    const part = data.subarray(at, at + CHUNK);
    const groups = Math.ceil(part.length / (2 * SUMS));
    floats.set(part, START / 4);
    floats.fill(0, START / 4 + part.length, START / 4 + groups * 2 * SUMS);
    squares(groups);
    for (let i = 0; i < 2 * SUMS; i++) total += sums[i];
  }
  return total;
}

function build() {
  const [left, offset, value, first] = [0, 1, 2, 3];
  const accumulate = Array.from({ length: SUMS }, (_, i) => [
    ...[...op.get(offset), ...op.loadHalf(START + i * 8), ...op.f64.promote, ...op.set(value)],
    ...[...op.get(value), ...op.get(value), ...op.f64.multiply],
    ...[...op.get(first + i), ...op.f64.add, ...op.set(first + i)],
  ]).flat();
  const advance = [...op.get(offset), ...op.i32(8 * SUMS), ...op.add, ...op.set(offset)];
  const count = [...op.get(left), ...op.i32(1), ...op.subtract, ...op.set(left), ...op.get(left)];
  const store = Array.from({ length: SUMS }, (_, i) => [
    ...op.i32(0),
    ...op.get(first + i),
    ...op.store(i * 16),
  ]).flat();
  const body = [...op.doWhile([...accumulate, ...advance, ...count]), ...store];
  const squares = { name: 'squares', parameters: 1, i32Locals: 1, v128Locals: 1 + SUMS, body };
  const instance = new WebAssembly.Instance(new WebAssembly.Module(assemble([squares], PAGES)));
  const kernel = instance.exports as unknown as Kernel;
  const { buffer } = kernel.memory;
  return {
    squares: kernel.squares,
    floats: new Float32Array(buffer),
    sums: new Float64Array(buffer, 0, 2 * SUMS),
  };
}
