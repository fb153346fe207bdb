import protobuf from 'protobufjs/minimal.js';
import { array, type DType, type NDArray, type Shape, sizeOf } from './array.ts';
import type { Program } from './program.ts';
import { type Node, type Tensor, topological } from './tensor.ts';

const OPSET = 20;
const IR_VERSION = 9;

/** `onnx.TensorProto.DataType`. */
export const ONNX_TYPE: Record<DType, number> = {
  float32: 1,
  uint8: 2,
  int32: 6,
  int64: 7,
  bool: 9,
  float64: 11,
};

type OnnxAttribute = number | string | readonly number[] | { float: number };

/** Collects the ONNX nodes of a program; operators' `lower` rules write into it. */
export class OnnxBuilder {
  private readonly names = new Map<Tensor, string>();
  private readonly nodes: Uint8Array[] = [];
  private readonly initializers: Uint8Array[] = [];
  private readonly constants = new Map<string, string>();
  private readonly domains = new Set<string>(['']);
  private counter = 0;
  /** Threads inside one operator. */
  readonly threads: number;

  constructor(threads = 1) {
    this.threads = threads;
  }

  /** ONNX name of a tensor that was lowered before. */
  name(tensor: Tensor): string {
    const name = this.names.get(tensor);
    if (name === undefined) throw new Error(`internal: ${tensor.node.op.name} was not lowered`);
    return name;
  }

  bind(tensor: Tensor, name: string): void {
    this.names.set(tensor, name);
  }

  fresh(): string {
    return `t${this.counter++}`;
  }

  /** Emits one ONNX node; returns the names of its outputs. */
  emit(
    type: string,
    inputs: readonly string[],
    attributes: Readonly<Record<string, OnnxAttribute>> = {},
    options: { outputs?: number; domain?: string } = {},
  ): string[] {
    const outputs = Array.from({ length: options.outputs ?? 1 }, () => this.fresh());
    const domain = options.domain ?? '';
    this.domains.add(domain);
    const w = protobuf.Writer.create();
    for (const input of inputs) w.uint32(10).string(input);
    for (const output of outputs) w.uint32(18).string(output);
    w.uint32(34).string(type);
    for (const [name, value] of Object.entries(attributes)) w.uint32(42).bytes(attribute(name, value));
    if (domain) w.uint32(58).string(domain);
    this.nodes.push(w.finish());
    return outputs;
  }

  /** Emits the single ONNX node that a whole operator lowers to and binds its outputs. */
  emitFor(
    node: Node,
    type: string,
    attributes: Readonly<Record<string, OnnxAttribute>> = {},
    domain = '',
    extraInputs: readonly string[] = [],
  ): void {
    const inputs = [...node.inputs.map((t) => this.name(t)), ...extraInputs];
    const outputs = this.emit(type, inputs, attributes, { outputs: node.outputs.length, domain });
    node.outputs.forEach((tensor, i) => {
      this.bind(tensor, outputs[i]);
    });
  }

  /** An initializer; equal small ones are shared. */
  constant(value: NDArray): string {
    const bytes = rawBytes(value);
    const key =
      bytes.length <= 256 ? `${value.dtype}[${value.shape}]${String.fromCharCode(...bytes)}` : undefined;
    const known = key === undefined ? undefined : this.constants.get(key);
    if (known !== undefined) return known;
    const name = `c${this.counter++}`;
    const w = protobuf.Writer.create();
    for (const d of value.shape) w.uint32(8).int64(d);
    w.uint32(16).int32(ONNX_TYPE[value.dtype]);
    w.uint32(66).string(name);
    w.uint32(74).bytes(bytes);
    this.initializers.push(w.finish());
    if (key !== undefined) this.constants.set(key, name);
    return name;
  }

  /** A one-dimensional int64 initializer, the form in which ONNX takes shapes and axes. */
  ints(values: readonly number[]): string {
    return this.constant({
      dtype: 'int64',
      shape: [values.length],
      data: BigInt64Array.from(values, (v) => BigInt(v)),
    });
  }

  /** Emits an empty sequence of float32 tensors. */
  emptySequence(name: string): void {
    const w = protobuf.Writer.create();
    this.nodes.push(w.uint32(18).string(name).uint32(34).string('SequenceEmpty').finish());
  }

  typeCode(dtype: DType): number {
    return ONNX_TYPE[dtype];
  }

  scalar(value: number, dtype: DType = 'float32'): string {
    return this.constant(array([value], [], dtype));
  }

  model(inputs: readonly Uint8Array[], outputs: readonly Uint8Array[]): Uint8Array {
    const graph = protobuf.Writer.create();
    for (const node of this.nodes) graph.uint32(10).bytes(node);
    graph.uint32(18).string('rankine');
    for (const initializer of this.initializers) graph.uint32(42).bytes(initializer);
    for (const input of inputs) graph.uint32(90).bytes(input);
    for (const output of outputs) graph.uint32(98).bytes(output);
    const w = protobuf.Writer.create();
    w.uint32(8).int64(IR_VERSION);
    w.uint32(18).string('rankine');
    w.uint32(58).bytes(graph.finish());
    for (const domain of this.domains) {
      const opset = protobuf.Writer.create();
      if (domain) opset.uint32(10).string(domain);
      opset.uint32(16).int64(domain ? 1 : OPSET);
      w.uint32(66).bytes(opset.finish());
    }
    return w.finish();
  }
}

/** An ONNX model and how its positional input and output names map to the program's names. */
export interface Serialized {
  readonly bytes: Uint8Array;
  readonly inputs: readonly { name: string; onnx: string }[];
  readonly outputs: readonly { name: string; onnx: string }[];
  /** Outputs for `OnnxOptions.results`, in their order. */
  readonly results: readonly string[];
}

export interface OnnxOptions {
  /** Threads that each operator will run on (default 1): some lower so that these share the work well. */
  readonly threads?: number;
  /** Name of an output before all others that is an empty sequence; default: none. */
  readonly sequence?: string;
  /** Intermediate results that are outputs too, after the others. */
  readonly results?: readonly Tensor[];
  /** Operators in the order in which they are written (default: as they are found from the outputs). */
  readonly order?: readonly Node[];
  /** Operators that must have ended before another begins. */
  readonly waits?: ReadonlyMap<Node, readonly Node[]>;
}

/**
 * Serializes a program to an ONNX model (opset 20, com.microsoft 1). Inputs are named by position, so that two programs
 * of one structure give the same bytes and can share one compiled session.
 */
export function toOnnx(program: Program, options: OnnxOptions = {}): Serialized {
  const { threads = 1, sequence, results = [], waits } = options;
  const builder = new OnnxBuilder(threads);
  const outputs = Object.entries(program.outputs);
  const inputs: { name: string; onnx: string }[] = [];
  const inputInfos: Uint8Array[] = [];
  if (sequence !== undefined) builder.emptySequence(sequence);
  for (const node of options.order ?? topological(loweringOrder(program))) {
    if (node.op.name === 'input') {
      const onnx = `x${inputs.length}`;
      inputs.push({ name: String(node.attributes.name), onnx });
      builder.bind(node.outputs[0], onnx);
      inputInfos.push(valueInfo(onnx, node.outputs[0].dtype, node.outputs[0].shape));
    } else lowerAfter(node, waits?.get(node) ?? [], builder);
  }
  const outputInfos = new Map<string, Uint8Array>();
  if (sequence !== undefined) outputInfos.set(sequence, sequenceInfo(sequence));
  const outputNames = outputs.map(([name, tensor]) => {
    let onnx = builder.name(tensor);
    // ONNX lets no input or initializer leave unchanged, and no value leave twice.
    if (!onnx.startsWith('t') || outputInfos.has(onnx)) onnx = builder.emit('Identity', [onnx])[0];
    outputInfos.set(onnx, valueInfo(onnx, tensor.dtype, tensor.shape));
    return { name, onnx };
  });
  const resultNames = results.map((tensor) => {
    const onnx = builder.name(tensor);
    outputInfos.set(onnx, valueInfo(onnx, tensor.dtype, tensor.shape));
    return onnx;
  });
  const bytes = builder.model(inputInfos, [...outputInfos.values()]);
  return { bytes, inputs, outputs: outputNames, results: resultNames };
}

/**
 * Lowers an operator that begins when others have ended. ONNX has no such edge, but a view takes its shape from a tensor:
 * one made of the sizes of what is waited for, times zero, for a zero keeps an axis as it is. Nothing is copied.
 */
function lowerAfter(node: Node, waited: readonly Node[], builder: OnnxBuilder): void {
  if (waited.length === 0) {
    node.op.lower(node, builder);
    return;
  }
  const [x] = node.inputs;
  const name = builder.name(x);
  const sizes = waited.map(({ outputs: [t] }) => builder.emit('Size', [builder.name(t)])[0]);
  const size = sizes.reduce((a, b) => builder.emit('Add', [a, b])[0]);
  const [shape] = builder.emit('Mul', [size, builder.ints(x.shape.map(() => 0))]);
  builder.bind(x, builder.emit('Reshape', [name, shape])[0]);
  node.op.lower(node, builder);
  builder.bind(x, name);
}

/**
 * Outputs as they are lowered: single numbers, the others in their order, the largest. ONNX Runtime starts from the leaf
 * that was lowered last: from the head's gradient before the loss, which would otherwise compute the forward parts of all
 * chunks before the first chunk's backward part; then from the last tensors to the first, as the backward pass goes.
 */
export function loweringOrder(program: Program): Tensor[] {
  const outputs = Object.values(program.outputs);
  const most = Math.max(...outputs.map((t) => sizeOf(t.shape)));
  const largest = outputs.findLast((t) => sizeOf(t.shape) === most);
  const rank = (t: Tensor) => (t === largest ? 2 : Number(sizeOf(t.shape) > 1));
  return outputs.sort((a, b) => rank(a) - rank(b));
}

function attribute(name: string, value: OnnxAttribute): Uint8Array {
  const w = protobuf.Writer.create();
  w.uint32(10).string(name);
  if (typeof value === 'string') w.uint32(34).bytes(new TextEncoder().encode(value)).uint32(160).int32(3);
  else if (typeof value === 'number') w.uint32(24).int64(value).uint32(160).int32(2);
  else if ('float' in value) w.uint32(21).float(value.float).uint32(160).int32(1);
  else {
    for (const v of value) w.uint32(64).int64(v);
    w.uint32(160).int32(7);
  }
  return w.finish();
}

function valueInfo(name: string, dtype: DType, shape: Shape): Uint8Array {
  const dims = protobuf.Writer.create();
  for (const d of shape) dims.uint32(10).bytes(protobuf.Writer.create().uint32(8).int64(d).finish());
  const tensorType = protobuf.Writer.create();
  tensorType.uint32(8).int32(ONNX_TYPE[dtype]);
  tensorType.uint32(18).bytes(dims.finish());
  const type = protobuf.Writer.create().uint32(10).bytes(tensorType.finish()).finish();
  return protobuf.Writer.create().uint32(10).string(name).uint32(18).bytes(type).finish();
}

/** Of a sequence of float32 tensors. */
function sequenceInfo(name: string): Uint8Array {
  const message = (field: number, content: Uint8Array) =>
    protobuf.Writer.create()
      .uint32((field << 3) | 2)
      .bytes(content)
      .finish();
  const tensor = message(1, protobuf.Writer.create().uint32(8).int32(ONNX_TYPE.float32).finish());
  const type = message(4, message(1, tensor));
  return protobuf.Writer.create().uint32(10).string(name).uint32(18).bytes(type).finish();
}

function rawBytes(value: NDArray): Uint8Array {
  const { data } = value;
  if (data.length !== sizeOf(value.shape)) throw new Error('internal: constant with a wrong size');
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}
