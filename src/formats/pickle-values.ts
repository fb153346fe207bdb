/** What a restricted pickle can build. A Python dict becomes a Map: its keys never touch an object's prototype. */
export type PickleValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | PickleValue[]
  | Map<PickleValue, PickleValue>
  | PickleTuple
  | PickleObject;

/** A Python tuple, kept apart from lists because argument lists must be tuples. */
export class PickleTuple {
  readonly items: readonly PickleValue[];
  constructor(items: readonly PickleValue[]) {
    this.items = items;
  }
}

/** Something that the caller's `Globals` made: a function, a type, a storage, a tensor. */
export interface PickleObject {
  readonly kind: string;
}

/** A callable that the caller allows; nothing else is ever called. */
export interface PickleFunction extends PickleObject {
  readonly kind: 'function';
  call(args: readonly PickleValue[]): PickleValue;
}

/** The whole outside world of the machine: the few globals that may be named, and storages by persistent id. */
export interface PickleWorld {
  /** The object for a global such as `collections.OrderedDict`, or undefined to refuse it. */
  resolve(module: string, name: string): PickleObject | undefined;
  persistent(id: PickleValue): PickleValue;
}

/** A value and the offset after its STOP, where the next pickle of a legacy file begins. */
export interface Unpickled {
  readonly value: PickleValue;
  readonly end: number;
}
