import { RankineError } from '../errors.ts';
import { type PickleReader, pickleReader } from './pickle-reader.ts';
import {
  type PickleFunction,
  PickleTuple,
  type PickleValue,
  type PickleWorld,
  type Unpickled,
} from './pickle-values.ts';

const MARK = Symbol('mark');
type Slot = PickleValue | typeof MARK;

interface Machine {
  readonly file: string;
  readonly reader: PickleReader;
  readonly world: PickleWorld;
  readonly stack: Slot[];
  readonly memo: Map<number, PickleValue>;
}

/**
 * Runs a pickle on a machine that can build only numbers, strings, lists, tuples, dicts and what `world` allows.
 * Python's own machine runs whatever code a pickle names; this one refuses at the first unknown name.
 *
 * @throws RankineError `formats/unsafe-pickle` with the name and its position; `formats/broken-pickle`
 * @see https://github.com/python/cpython/blob/3.12/Lib/pickletools.py for the operations
 */
export function unpickle(file: string, bytes: Uint8Array, start: number, world: PickleWorld): Unpickled {
  const machine: Machine = {
    file,
    reader: pickleReader(file, bytes, start),
    world,
    stack: [],
    memo: new Map(),
  };
  const { reader } = machine;
  for (;;) {
    const position = reader.position();
    const code = reader.byte();
    if (code === 0x2e) return { value: pop(machine), end: reader.position() }; // STOP
    const operation = OPERATIONS[code];
    if (!operation)
      throw broken(machine, `operation 0x${code.toString(16)} at byte ${position} is not one it may use`);
    operation(machine, position);
  }
}

type Operation = (m: Machine, position: number) => void;

const OPERATIONS: Record<number, Operation> = {
  128: (m) => m.reader.byte(), // PROTO
  149: (m) => m.reader.skip(8), // FRAME
  40: (m) => m.stack.push(MARK),
  48: (m) => drop(m), // POP
  49: (m) => popToMark(m), // POP_MARK
  50: (m) => push(m, top(m)), // DUP
  78: (m) => push(m, null),
  136: (m) => push(m, true),
  137: (m) => push(m, false),
  74: (m) => push(m, m.reader.int32()), // BININT
  75: (m) => push(m, m.reader.byte()), // BININT1
  77: (m) => push(m, m.reader.uint16()), // BININT2
  138: (m) => push(m, m.reader.long(m.reader.byte())), // LONG1
  139: (m) => push(m, m.reader.long(m.reader.uint32())), // LONG4
  71: (m) => push(m, m.reader.float64()), // BINFLOAT
  88: (m) => push(m, m.reader.text(m.reader.uint32())), // BINUNICODE
  140: (m) => push(m, m.reader.text(m.reader.byte())), // SHORT_BINUNICODE
  141: (m) => push(m, m.reader.text(m.reader.uint64())), // BINUNICODE8
  84: (m) => push(m, m.reader.text(m.reader.uint32())), // BINSTRING, from Python 2
  85: (m) => push(m, m.reader.text(m.reader.byte())), // SHORT_BINSTRING, from Python 2
  66: (m) => push(m, m.reader.bytes(m.reader.uint32())), // BINBYTES
  67: (m) => push(m, m.reader.bytes(m.reader.byte())), // SHORT_BINBYTES
  93: (m) => push(m, []), // EMPTY_LIST
  108: (m) => push(m, popToMark(m)), // LIST
  97: (m) => append(m, [pop(m)]), // APPEND
  101: (m) => append(m, popToMark(m)), // APPENDS
  125: (m) => push(m, new Map()), // EMPTY_DICT
  100: (m) => newDict(m), // DICT
  115: (m) => setItem(m), // SETITEM
  117: (m) => setItems(m, popToMark(m)), // SETITEMS
  41: (m) => push(m, new PickleTuple([])), // EMPTY_TUPLE
  133: (m) => tupleOf(m, 1),
  134: (m) => tupleOf(m, 2),
  135: (m) => tupleOf(m, 3),
  116: (m) => push(m, new PickleTuple(popToMark(m))), // TUPLE
  104: (m) => recall(m, m.reader.byte()), // BINGET
  106: (m) => recall(m, m.reader.uint32()), // LONG_BINGET
  113: (m) => m.memo.set(m.reader.byte(), top(m)), // BINPUT
  114: (m) => m.memo.set(m.reader.uint32(), top(m)), // LONG_BINPUT
  148: (m) => m.memo.set(m.memo.size, top(m)), // MEMOIZE
  99: (m, position) => pushGlobal(m, m.reader.line(), m.reader.line(), position), // GLOBAL
  147: (m, position) => stackGlobal(m, position), // STACK_GLOBAL
  81: (m) => push(m, m.world.persistent(pop(m))), // BINPERSID
  82: (m, position) => reduce(m, position), // REDUCE
  98: (m, position) => build(m, position), // BUILD
};

function push(m: Machine, value: PickleValue): void {
  m.stack.push(value);
}

function drop(m: Machine): void {
  if (m.stack.length === 0) throw broken(m, 'it takes from an empty stack');
  m.stack.pop();
}

function top(m: Machine): PickleValue {
  const value = m.stack.at(-1);
  if (value === undefined || value === MARK) throw broken(m, 'it takes from an empty stack');
  return value;
}

function pop(m: Machine): PickleValue {
  const value = top(m);
  m.stack.pop();
  return value;
}

function popToMark(m: Machine): PickleValue[] {
  const mark = m.stack.lastIndexOf(MARK);
  if (mark < 0) throw broken(m, 'it closes a group that it never opened');
  const items = m.stack.splice(mark).slice(1);
  return items as PickleValue[]; // above the last mark there are none
}

function tupleOf(m: Machine, count: number): void {
  const items: PickleValue[] = [];
  for (let i = 0; i < count; i++) items.unshift(pop(m));
  push(m, new PickleTuple(items));
}

function append(m: Machine, items: PickleValue[]): void {
  const list = top(m);
  if (!Array.isArray(list)) throw broken(m, 'it appends to something that is no list');
  for (const item of items) list.push(item);
}

function newDict(m: Machine): void {
  const items = popToMark(m);
  push(m, new Map());
  setItems(m, items);
}

function setItem(m: Machine): void {
  const value = pop(m);
  setItems(m, [pop(m), value]);
}

function setItems(m: Machine, items: PickleValue[]): void {
  const dict = top(m);
  if (!(dict instanceof Map) || items.length % 2 !== 0) throw broken(m, 'it fills something that is no dict');
  for (let i = 0; i < items.length; i += 2) dict.set(items[i], items[i + 1]);
}

function recall(m: Machine, index: number): void {
  const value = m.memo.get(index);
  if (value === undefined) throw broken(m, `it recalls entry ${index}, which it never kept`);
  push(m, value);
}

function stackGlobal(m: Machine, position: number): void {
  const name = pop(m);
  pushGlobal(m, String(pop(m)), String(name), position);
}

function pushGlobal(m: Machine, module: string, name: string, position: number): void {
  const object = m.world.resolve(module, name);
  if (!object) throw unsafe(m, `names ${module}.${name} at byte ${position}`);
  push(m, object);
}

function reduce(m: Machine, position: number): void {
  const args = pop(m);
  const callee = pop(m);
  if (!isFunction(callee) || !(args instanceof PickleTuple))
    throw unsafe(m, `calls something that is no allowed function at byte ${position}`);
  push(m, callee.call(args.items));
}

// An OrderedDict carries `_metadata` as attributes (versions of modules), which no reader of weights needs.
function build(m: Machine, position: number): void {
  pop(m);
  if (!(top(m) instanceof Map)) throw unsafe(m, `sets the state of an object at byte ${position}`);
}

function isFunction(value: PickleValue): value is PickleFunction {
  return typeof value === 'object' && value !== null && 'kind' in value && value.kind === 'function';
}

function unsafe(m: Machine, fact: string): RankineError {
  return new RankineError(
    'formats/unsafe-pickle',
    `The pickle in ${m.file} ${fact}; only tensors and plain containers are read from pickles, because anything else can run code.`,
    'If you trust the file, convert it to safetensors in Python; otherwise do not use it.',
  );
}

function broken(m: Machine, fact: string): RankineError {
  return new RankineError(
    'formats/broken-pickle',
    `The pickle in ${m.file} is damaged: ${fact}.`,
    'Download or write the file again.',
  );
}
