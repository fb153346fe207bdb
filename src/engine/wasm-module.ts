/**
 * A small assembler for WebAssembly SIMD functions: just the instructions that the kernels need
 * (WebAssembly core specification 2.0, chapter 5).
 */

const I32 = 0x7f;
const V128 = 0x7b;
const EMPTY = 0x40;

/** Unsigned LEB128. */
function unsigned(value: number): number[] {
  const out: number[] = [];
  for (let v = value; ; v >>>= 7) {
    if (v < 128) return [...out, v];
    out.push((v & 127) | 128);
  }
}

/** Signed LEB128. */
function signed(value: number): number[] {
  const out: number[] = [];
  for (let v = value; ; v >>= 7) {
    const byte = v & 127;
    if ((v >> 7 === 0 && byte < 64) || (v >> 7 === -1 && byte >= 64)) return [...out, byte];
    out.push(byte | 128);
  }
}

function vector(items: readonly (readonly number[])[]): number[] {
  return [...unsigned(items.length), ...items.flat()];
}

/** A memory operand: alignment 1, since rows start anywhere. */
function at(offset: number): number[] {
  return [0, ...unsigned(offset)];
}

const simd = (code: number, ...rest: number[]) => [0xfd, ...unsigned(code), ...rest];

/** Instructions, each a sequence of bytes. */
export const op = {
  get: (local: number) => [0x20, ...unsigned(local)],
  set: (local: number) => [0x21, ...unsigned(local)],
  i32: (value: number) => [0x41, ...signed(value)],
  add: [0x6a],
  subtract: [0x6b],
  shiftLeft: [0x74],
  /** A byte as an i32 without sign. */
  loadByte: (offset: number) => [0x2d, ...at(offset)],
  loadWord: (offset: number) => [0x28, ...at(offset)],
  storeWord: (offset: number) => [0x36, ...at(offset)],
  /** Runs the body at least once, and again while the i32 it leaves is not zero. */
  doWhile: (body: number[]) => [0x03, EMPTY, ...body, 0x0d, 0, 0x0b],
  /** Runs the body if the i32 on the stack is not zero. */
  when: (body: number[]) => [0x04, EMPTY, ...body, 0x0b],
  load: (offset: number) => simd(0x00, ...at(offset)),
  /** Eight bytes, and zeros in the other half. */
  loadHalf: (offset: number) => simd(0x5d, ...at(offset)),
  store: (offset: number) => simd(0x0b, ...at(offset)),
  storeHalf: (offset: number) => simd(0x5b, ...at(offset), 0),
  /** Four bytes, and zeros behind them. */
  loadQuarter: (offset: number) => simd(0x5c, ...at(offset)),
  /** Replaces a lane of the vector on the stack by four bytes from the address below it. */
  loadLane: (lane: number, offset: number) => simd(0x56, ...at(offset), lane),
  storeLane: (lane: number, offset: number) => simd(0x5a, ...at(offset), lane),
  zero: simd(0x0c, ...new Array<number>(16).fill(0)),
  /** 1 as float32 in every lane. */
  ones: simd(0x0c, ...new Array(4).fill([0, 0, 0x80, 0x3f]).flat()),
  /** The upper half of a vector in both halves. */
  swapHalves: simd(0x0d, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7),
  /** Each pair of neighbouring 32-bit lanes the other way round. */
  swapNeighbours: simd(0x0d, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11),
  not: simd(0x4d),
  and: simd(0x4e),
  or: simd(0x50),
  xor: simd(0x51),
  /** Takes a, b and a mask: a where the mask's bits are set, else b. */
  select: simd(0x52),
  /** Vectors of four i32. */
  i32x4: {
    /** The i32 on the stack in every lane. */
    splat: simd(0x11),
    /** Shifts by the i32 on the stack. */
    shiftLeft: simd(0xab),
    shiftRight: simd(0xac),
    shiftRightUnsigned: simd(0xad),
    add: simd(0xae),
    subtract: simd(0xb1),
    /** Two vectors as eight i16, held at the ends of the range. */
    narrow: simd(0x85),
  },
  /** Two vectors of eight i16 as sixteen u8, held at the ends of the range. */
  narrowToBytes: simd(0x66),
  f32: {
    splat: (offset: number) => simd(0x09, ...at(offset)),
    add: simd(0xe4),
    subtract: simd(0xe5),
    multiply: simd(0xe6),
    divide: simd(0xe7),
    min: simd(0xe8),
    max: simd(0xe9),
    /** b where a < b, else a: no rule for NaN, and so one machine instruction. */
    larger: simd(0xeb),
    abs: simd(0xe0),
    negate: simd(0xe1),
    sqrt: simd(0xe3),
    floor: simd(0x68),
    equal: simd(0x41),
    less: simd(0x43),
    greater: simd(0x44),
    greaterEqual: simd(0x46),
  },
  f64: {
    splat: (offset: number) => simd(0x0a, ...at(offset)),
    add: simd(0xf0),
    multiply: simd(0xf2),
    /** The lower two float32 as float64. */
    promote: simd(0x5f),
  },
};

/** A function of i32 parameters without a result. */
export interface WasmFunction {
  readonly name: string;
  readonly parameters: number;
  /** Further locals, numbered on from the parameters: first those of i32, then those of v128. */
  readonly i32Locals: number;
  readonly v128Locals: number;
  readonly body: readonly number[];
}

/**
 * The binary module that exports the functions and a memory of `pages` x 64 KiB, named `memory`.
 * @param imported the memory is the importer's instead, as `env.memory`
 */
export function assemble(
  functions: readonly WasmFunction[],
  pages: number,
  imported = false,
): Uint8Array<ArrayBuffer> {
  const name = (text: string) => vector(Array.from(new TextEncoder().encode(text), (b) => [b]));
  const types = functions.map((f) => [0x60, ...vector(new Array(f.parameters).fill([I32])), 0]);
  const exported = functions.map((f, i) => [...name(f.name), 0, ...unsigned(i)]);
  const code = functions.map((f) => {
    const locals = [
      [...unsigned(f.i32Locals), I32],
      [...unsigned(f.v128Locals), V128],
    ];
    const body = [...vector(locals), ...f.body, 0x0b];
    return [...unsigned(body.length), ...body];
  });
  const limits = [0, ...unsigned(pages)];
  const section = (id: number, bytes: number[]) => [id, ...unsigned(bytes.length), ...bytes];
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, vector(types)),
    ...(imported ? section(2, vector([[...name('env'), ...name('memory'), 2, ...limits]])) : []),
    ...section(3, vector(functions.map((_, i) => unsigned(i)))),
    ...(imported ? [] : section(5, vector([limits]))),
    ...section(7, vector(imported ? exported : [...exported, [...name('memory'), 2, 0]])),
    ...section(10, vector(code)),
  ]);
}
