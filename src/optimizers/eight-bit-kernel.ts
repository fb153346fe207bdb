import { assemble, op, type WasmFunction } from '../engine/wasm-module.ts';
import { BLOCK, dynamicCodes } from './eight-bit.ts';
import { codeEntries, type Encoding, OF_M, OF_V } from './eight-bit-encoding.ts';
import { PLACES, SINGLES } from './eight-bit-layout.ts';

export interface Kernel {
  /** AdamW on that many blocks in the module's memory. */
  update(blocks: number): void;
  readonly memory: WebAssembly.Memory;
}

export function instantiate(): Kernel {
  const module = new WebAssembly.Module(kernelBytes());
  const kernel = new WebAssembly.Instance(module).exports as unknown as Kernel;
  const { buffer } = kernel.memory;
  new Uint32Array(buffer, PLACES.mEntries).set(codeEntries(OF_M));
  new Uint32Array(buffer, PLACES.vEntries).set(codeEntries(OF_V));
  new Float32Array(buffer, PLACES.mCodes).set(dynamicCodes(true));
  new Float32Array(buffer, PLACES.vCodes).set(dynamicCodes(false));
  return kernel;
}

/** The module, below the 4 KiB that browsers compile at once. */
export function kernelBytes(): Uint8Array<ArrayBuffer> {
  return assemble([update()], Math.ceil(PLACES.end / 65536));
}

type Code = readonly number[];
const sequence = (...parts: Code[]) => parts.flat();
const times = (a: Code, b: Code) => sequence(a, b, op.f32.multiply);
const plus = (a: Code, b: Code) => sequence(a, b, op.f32.add);
const splat = (x: number) => sequence(op.i32(x), op.i32x4.splat);
const single = (name: (typeof SINGLES)[number]) => op.get(FIRST_SINGLE + SINGLES.indexOf(name));

/** Locals: what is left to do; offsets of the block's floats, codes and scale, and of the current value in the block. */
const [blocks, weights, codes, scales, inner] = [0, 1, 2, 3, 4];
const [mBy, vBy, mMost, vMost, g, first, second, w] = [5, 6, 7, 8, 9, 10, 11, 12];
const FIRST_SINGLE = 13;
const increase = (local: number, by: number) => sequence(op.get(local), op.i32(by), op.add, op.set(local));

/** All of a block, 16 values at a time: `four` is given how many come before. */
function throughBlock(four: (before: number) => Code, ...advance: Code[]): Code {
  const body = sequence(...[0, 4, 8, 12].map(four), ...advance, increase(inner, 64));
  return sequence(
    ...[op.i32(0), op.set(inner)],
    op.doWhile(sequence(body, op.get(inner), op.i32(4 * BLOCK), op.subtract)),
  );
}

function update(): WasmFunction {
  const old = (by: number, beta: 'beta1' | 'beta2', place: number) =>
    sequence(times(sequence(op.get(scales), op.f32.splat(place)), single(beta)), op.set(by));
  const body = sequence(
    ...[old(mBy, 'beta1', PLACES.mScale), old(vBy, 'beta2', PLACES.vScale)],
    ...[op.zero, op.set(mMost), op.zero, op.set(vMost)],
    throughBlock(move, increase(weights, 64), increase(codes, 16)),
    ...[close(mMost, mBy, PLACES.mScale), close(vMost, vBy, PLACES.vScale)],
    throughBlock((at) => sequence(addresses(OF_M, at), addresses(OF_V, at))),
    throughBlock((at) => sequence(lookUp(OF_M, at), lookUp(OF_V, at))),
    increase(codes, -BLOCK),
    throughBlock((at) => (at === 0 ? sequence(encode(OF_M), encode(OF_V)) : []), increase(codes, 16)),
    increase(scales, 4),
  );
  const next = sequence(op.get(blocks), op.i32(1), op.subtract, op.set(blocks), op.get(blocks));
  const singles = SINGLES.map((_, i) =>
    sequence(op.i32(0), op.f32.splat(PLACES.singles + 4 * i), op.set(FIRST_SINGLE + i)),
  );
  return {
    ...{ name: 'update', parameters: 1, i32Locals: 4, v128Locals: 8 + SINGLES.length },
    body: sequence(...singles, op.doWhile(sequence(body, next))),
  };
}

/** Moves four weights by their moments, which stay float32 until their block's scale is known. */
function move(before: number): Code {
  const at = 4 * before;
  const averaged = (table: number, place: number, by: number, fresh: Code) =>
    plus(times(decoded(table, place + before), op.get(by)), fresh);
  const keep = (local: number, place: number) => sequence(op.get(inner), op.get(local), op.store(place + at));
  const most = (local: number, x: Code) => sequence(op.get(local), x, op.f32.larger, op.set(local));
  const root = plus(times(sequence(op.get(second), op.f32.sqrt), single('root')), single('epsilon'));
  const direction = sequence(times(op.get(first), single('step')), root, op.f32.divide);
  return sequence(
    ...[times(sequence(op.get(weights), op.load(PLACES.g + at)), single('clip')), op.set(g)],
    ...[averaged(PLACES.mCodes, PLACES.m, mBy, times(op.get(g), single('gain1'))), op.set(first)],
    averaged(PLACES.vCodes, PLACES.v, vBy, times(times(op.get(g), op.get(g)), single('gain2'))),
    op.set(second),
    ...[keep(first, PLACES.first), keep(second, PLACES.second)],
    ...[most(mMost, sequence(op.get(first), op.f32.abs)), most(vMost, op.get(second))],
    ...[op.get(weights), op.load(PLACES.w + at), op.set(w)],
    ...[op.get(weights), op.get(w), plus(direction, times(op.get(w), single('decay')))],
    ...[op.f32.subtract, op.store(PLACES.w + at)],
  );
}

/** Values of four codes. */
function decoded(table: number, place: number): Code {
  const address = (i: number) => sequence(op.get(codes), op.loadByte(place + i), op.i32(2), op.shiftLeft);
  const rest = [1, 2, 3].flatMap((lane) => op.loadLane(lane, table));
  return sequence(...[3, 2, 1, 0].map(address), op.loadQuarter(table), rest);
}

/** The largest magnitude is the block's scale; `by` becomes its reciprocal, or 0 where it is too small to have one. */
function close(most: number, by: number, place: number): Code {
  const spread = (swap: Code) =>
    sequence(op.get(most), op.get(most), op.get(most), swap, op.f32.larger, op.set(most));
  return sequence(
    ...[spread(op.swapHalves), spread(op.swapNeighbours)],
    ...[op.get(scales), op.get(most), op.storeLane(0, place)],
    ...[single('one'), op.get(most), op.f32.divide],
    ...[op.get(most), single('smallest'), op.f32.greaterEqual, op.and, op.set(by)],
  );
}

const valuesOf = ({ signed }: Encoding) => (signed ? PLACES.first : PLACES.second);
const entriesOf = ({ signed }: Encoding) => (signed ? PLACES.firstEntries : PLACES.secondEntries);

/** The ordered bits of four values relative to their scale, and the addresses of their entries. */
function addresses(e: Encoding, before: number): Code {
  const at = 4 * before;
  const relative = times(sequence(op.get(inner), op.load(valuesOf(e) + at)), op.get(e.signed ? mBy : vBy));
  const bits = e.signed ? sequence(relative, op.set(g), ordered(op.get(g))) : relative;
  return sequence(
    ...[bits, op.set(first), op.get(inner), op.get(first), op.store(valuesOf(e) + at), op.get(inner)],
    ...[op.get(first), op.i32(e.shift), op.i32x4.shiftRightUnsigned, op.i32(2), op.i32x4.shiftLeft],
    op.store(entriesOf(e) + at),
  );
}

function ordered(x: Code): Code {
  const sign = sequence(x, op.i32(31), op.i32x4.shiftRight);
  return sequence(x, sign, op.i32(1), op.i32x4.shiftRightUnsigned, op.xor);
}

/** Addresses become the entries there: by single loads and stores, since lanes go through one port of the processor. */
function lookUp(e: Encoding, before: number): Code {
  const table = e.signed ? PLACES.mEntries : PLACES.vEntries;
  const places = [0, 1, 2, 3].map((i) => entriesOf(e) + 4 * (before + i));
  return places.flatMap((place) =>
    sequence(op.get(inner), op.get(inner), op.loadWord(place), op.loadWord(table), op.storeWord(place)),
  );
}

/** Sixteen values as codes. */
function encode(e: Encoding): Code {
  const eight = (at: number) => sequence(fourCodes(e, at), fourCodes(e, at + 16), op.i32x4.narrow);
  const into = e.signed ? PLACES.m : PLACES.v;
  return sequence(op.get(codes), eight(0), eight(32), op.narrowToBytes, op.store(into));
}

function fourCodes(e: Encoding, at: number): Code {
  const others = sequence(op.get(inner), op.load(valuesOf(e) + at), splat(2 ** e.shift - 1), op.and);
  const entry = sequence(op.get(inner), op.load(entriesOf(e) + at));
  return sequence(others, entry, op.i32x4.add, op.i32(e.shift), op.i32x4.shiftRightUnsigned);
}
