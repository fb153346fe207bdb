/**
 * Conversions between float32 and the two 16-bit float types, as bit patterns in a Uint16Array.
 * Widening is exact; narrowing rounds to nearest, ties to even (IEEE 754), as PyTorch does.
 */

const scratch = new ArrayBuffer(4);
const scratchFloat = new Float32Array(scratch);
const scratchBits = new Uint32Array(scratch);

let table: Float32Array | undefined;

/** All 65,536 float16 values, indexed by bit pattern: one look-up an element is the fastest way in plain JavaScript. */
function float16Table(): Float32Array {
  if (table) return table;
  table = new Float32Array(65536);
  const bits = new Uint32Array(table.buffer);
  for (let h = 0; h < 65536; h++) bits[h] = float16ToBits(h);
  return table;
}

function float16ToBits(half: number): number {
  const sign = (half & 0x8000) << 16;
  const exponent = (half >>> 10) & 0x1f;
  const fraction = half & 0x3ff;
  if (exponent === 31) return sign | 0x7f800000 | (fraction << 13);
  if (exponent > 0) return sign | ((exponent + 112) << 23) | (fraction << 13);
  scratchFloat[0] = fraction * 2 ** -24; // zero and subnormals
  return sign | scratchBits[0];
}

/** float16 bit patterns to float32. */
export function widenFloat16(source: Uint16Array): Float32Array {
  const values = float16Table();
  const out = new Float32Array(source.length);
  for (let i = 0; i < source.length; i++) out[i] = values[source[i]];
  return out;
}

/** bfloat16 bit patterns to float32: the upper half of the same bits. */
export function widenBfloat16(source: Uint16Array): Float32Array {
  const bits = new Uint32Array(source.length);
  for (let i = 0; i < source.length; i++) bits[i] = source[i] << 16;
  return new Float32Array(bits.buffer);
}

/** float32 to bfloat16 bit patterns, nearest even; NaN stays NaN. */
export function narrowBfloat16(source: Float32Array): Uint16Array {
  const bits = new Uint32Array(source.buffer, source.byteOffset, source.length);
  const out = new Uint16Array(source.length);
  for (let i = 0; i < bits.length; i++) {
    const u = bits[i];
    const notANumber = (u & 0x7fffffff) > 0x7f800000;
    out[i] = notANumber ? (u >>> 16) | 0x40 : (u + 0x7fff + ((u >>> 16) & 1)) >>> 16;
  }
  return out;
}

/** float32 to float16 bit patterns, nearest even; beyond 65,519.99 becomes infinity, NaN stays NaN. */
export function narrowFloat16(source: Float32Array): Uint16Array {
  const bits = new Uint32Array(source.buffer, source.byteOffset, source.length);
  const out = new Uint16Array(source.length);
  for (let i = 0; i < bits.length; i++) out[i] = narrowOne(bits[i]);
  return out;
}

function narrowOne(u: number): number {
  const sign = (u >>> 16) & 0x8000;
  const magnitude = u & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00; // NaN
  if (magnitude >= 0x477ff000) return sign | 0x7c00; // rounds to infinity
  if (magnitude >= 0x38800000) {
    // Normal: rebase the exponent, then add just under half of the last kept place, plus its parity.
    return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
  }
  if (magnitude < 0x33000000) return sign; // below half of the smallest subnormal
  return sign | narrowSubnormal(magnitude);
}

function narrowSubnormal(magnitude: number): number {
  const shift = 126 - (magnitude >>> 23); // 14 .. 24
  const fraction = (magnitude & 0x7fffff) | 0x800000;
  const kept = fraction >>> shift;
  const rest = fraction & ((1 << shift) - 1);
  const half = 1 << (shift - 1);
  return rest > half || (rest === half && (kept & 1) === 1) ? kept + 1 : kept;
}
