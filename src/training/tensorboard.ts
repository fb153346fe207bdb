import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import protobuf from 'protobufjs/minimal.js';
import { maskedCrc32c } from './crc32c.ts';

/** A TensorBoard event: a subset of tensorflow's `event.proto`. */
export interface TensorboardEvent {
  /** Seconds since 1970. */
  readonly wallTime: number;
  readonly step?: number;
  readonly fileVersion?: string;
  /** Tag to value, stored as float32. */
  readonly scalars?: Readonly<Record<string, number>>;
  /** The run starts again at `step`: readers drop what an earlier file has from there on. */
  readonly sessionStart?: boolean;
}

export interface TensorboardLog {
  /** Appends one event with `values` as scalars. */
  log(step: number, values: Readonly<Record<string, number>>): void;
  sync(): void;
  close(): void;
}

export interface TensorboardOptions {
  /** First update that this process will log; above 0 on resume, where it hides later values of the killed run. */
  readonly from?: number;
  /** Seconds since 1970. */
  readonly now?: () => number;
}

/** Starts a new event file in `folder`, which must exist; TensorBoard reads all files of a folder as one run. */
export function openTensorboard(folder: string, options: TensorboardOptions = {}): TensorboardLog {
  const { from = 0, now = () => Date.now() / 1000 } = options;
  const file = openSync(join(folder, eventFileName(now())), 'ax');
  const append = (event: Omit<TensorboardEvent, 'wallTime'>): void => {
    writeSync(file, encodeRecord(encodeEvent({ wallTime: now(), ...event })));
  };
  append({ fileVersion: 'brain.Event:2' });
  if (from > 0) append({ step: from, sessionStart: true });
  return {
    log: (step, scalars) => append({ step, scalars }),
    sync: () => fsyncSync(file),
    close: () => closeSync(file),
  };
}

// Files are read in the order of their names: fixed-width seconds first, then nanoseconds to keep two starts in one second apart.
function eventFileName(time: number): string {
  const seconds = String(Math.floor(time)).padStart(10, '0');
  const order = process.hrtime.bigint().toString().padStart(20, '0');
  return `events.out.tfevents.${seconds}.${hostname()}.${process.pid}.${order}`;
}

/** TFRecord framing: length (uint64), its masked CRC, data, their masked CRC; all little-endian. */
export function encodeRecord(data: Uint8Array): Uint8Array {
  const out = new Uint8Array(8 + 4 + data.length + 4);
  const view = new DataView(out.buffer);
  view.setBigUint64(0, BigInt(data.length), true);
  view.setUint32(8, maskedCrc32c(out.subarray(0, 8)), true);
  out.set(data, 12);
  view.setUint32(12 + data.length, maskedCrc32c(data), true);
  return out;
}

const WIRE_VARINT = 0;
const WIRE_64BIT = 1;
const WIRE_BYTES = 2;
const WIRE_32BIT = 5;

const tag = (field: number, wire: number): number => (field << 3) | wire;

/** Field numbers of tensorflow/core/util/event.proto; written in their order, as the reference implementation does. */
export function encodeEvent(event: TensorboardEvent): Uint8Array {
  const writer = protobuf.Writer.create().uint32(tag(1, WIRE_64BIT)).double(event.wallTime);
  if (event.step) writer.uint32(tag(2, WIRE_VARINT)).int64(event.step);
  if (event.fileVersion) writer.uint32(tag(3, WIRE_BYTES)).string(event.fileVersion);
  if (event.scalars) writer.uint32(tag(5, WIRE_BYTES)).bytes(encodeSummary(event.scalars));
  if (event.sessionStart) writer.uint32(tag(7, WIRE_BYTES)).bytes(SESSION_START);
  return writer.finish();
}

/** SessionLog { status: START }. */
const SESSION_START = protobuf.Writer.create().uint32(tag(1, WIRE_VARINT)).int32(1).finish();

/** Summary { repeated Value value = 1 }, Value { string tag = 1; float simple_value = 2 }. */
function encodeSummary(scalars: Readonly<Record<string, number>>): Uint8Array {
  const summary = protobuf.Writer.create();
  for (const [name, value] of Object.entries(scalars)) {
    const one = protobuf.Writer.create().uint32(tag(1, WIRE_BYTES)).string(name);
    one.uint32(tag(2, WIRE_32BIT)).float(value);
    summary.uint32(tag(1, WIRE_BYTES)).bytes(one.finish());
  }
  return summary.finish();
}
