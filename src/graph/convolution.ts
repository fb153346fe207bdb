import { type NDArray, type Shape, sizeOf } from './array.ts';
import { fill } from './constant.ts';
import { add } from './elementwise.ts';
import { coordinates, dot, reference, strides } from './evaluate-helpers.ts';
import { scatterAdd } from './index-ops.ts';
import { reshape, slice, transpose } from './shape.ts';
import { type Attributes, apply, type Node, type Op, rank, shapeError, type Tensor } from './tensor.ts';

type Pair = readonly [number, number];

/** Sliding window of a two-dimensional operator: [rows, columns] each. */
export interface Window {
  stride: Pair;
  padding: Pair;
  dilation: Pair;
}

function window(attributes: Attributes): Window {
  return attributes as unknown as Window;
}

function outputSize(input: number, kernel: number, w: Window, axis: 0 | 1): number {
  const span = w.dilation[axis] * (kernel - 1) + 1;
  return Math.floor((input + 2 * w.padding[axis] - span) / w.stride[axis]) + 1;
}

/** Calls `visit` with flat offsets into x, w and y for every product that the convolution y = x ⋆ w sums. */
function products(
  x: Shape,
  w: Shape,
  y: Shape,
  win: Window,
  visit: (x: number, w: number, y: number) => void,
): void {
  const [xs, ws] = [strides(x), strides(w)];
  coordinates(y, ([b, o, r, c], flat) => {
    coordinates(w.slice(1), ([i, kr, kc]) => {
      const row = r * win.stride[0] - win.padding[0] + kr * win.dilation[0];
      const column = c * win.stride[1] - win.padding[1] + kc * win.dilation[1];
      if (row < 0 || column < 0 || row >= x[2] || column >= x[3]) return;
      visit(dot([b, i, row, column], xs), dot([o, i, kr, kc], ws), flat);
    });
  });
}

const conv2dOp: Op = {
  name: 'conv2d',
  infer: (inputs, a) => {
    const [x, w] = inputs;
    if (rank(x) !== 4 || rank(w) !== 4 || x.shape[1] !== w.shape[1])
      throw shapeError(
        'conv2d',
        inputs,
        'expected x [batch, in, rows, columns] and weight [out, in, rows, columns]',
      );
    const rows = outputSize(x.shape[2], w.shape[2], window(a), 0);
    const columns = outputSize(x.shape[3], w.shape[3], window(a), 1);
    if (rows < 1 || columns < 1)
      throw shapeError('conv2d', inputs, 'the kernel is larger than the padded input');
    return [{ shape: [x.shape[0], w.shape[0], rows, columns], dtype: x.dtype }];
  },
  gradient: (node, [g]) => {
    if (!g) return [];
    const [x, w] = node.inputs;
    const win = window(node.attributes);
    return [inputGradient(g, w, x.shape, win), weightGradient(x, g, w.shape, win)];
  },
  lower: (node, builder) => builder.emitFor(node, 'Conv', onnxWindow(window(node.attributes))),
  evaluate: (node, [x, w]) => {
    const y = reference(x.dtype, node.outputs[0].shape);
    products(x.shape, w.shape, y.shape, window(node.attributes), (i, j, k) => {
      y.data[k] = Number(y.data[k]) + Number(x.data[i]) * Number(w.data[j]);
    });
    return [y];
  },
};

function onnxWindow(w: Window) {
  return { strides: w.stride, pads: [...w.padding, ...w.padding], dilations: w.dilation };
}

/** Gradient of a convolution's input: the transposed convolution of g with the same weight. */
const convTransposeOp: Op = {
  name: 'convTranspose2d',
  infer: ([g], a) => [{ shape: a.shape as Shape, dtype: g.dtype }],
  gradient: (node, [gx]) => {
    if (!gx) return [];
    const [g, w] = node.inputs;
    const win = window(node.attributes);
    return [conv2d(gx, w, undefined, win), weightGradient(gx, g, w.shape, win)];
  },
  lower: (node, builder) => {
    const win = window(node.attributes);
    const [g, w] = node.inputs;
    const missing = ([0, 1] as const).map((i) => {
      const span = win.dilation[i] * (w.shape[2 + i] - 1) + 1;
      return (
        node.outputs[0].shape[2 + i] - ((g.shape[2 + i] - 1) * win.stride[i] + span - 2 * win.padding[i])
      );
    });
    builder.emitFor(node, 'ConvTranspose', { ...onnxWindow(win), output_padding: missing });
  },
  evaluate: (node, [g, w]) => {
    const x = reference(g.dtype, node.outputs[0].shape);
    products(x.shape, w.shape, g.shape, window(node.attributes), (i, j, k) => {
      x.data[i] = Number(x.data[i]) + Number(g.data[k]) * Number(w.data[j]);
    });
    return [x];
  },
};

function inputGradient(g: Tensor, w: Tensor, shape: Shape, win: Window): Tensor {
  return apply(convTransposeOp, [g, w], { ...win, shape })[0];
}

/** dW = xᵀ ⋆ gᵀ with batch and channels swapped, and stride and dilation swapped. */
function weightGradient(x: Tensor, g: Tensor, shape: Shape, win: Window): Tensor {
  const swap = [1, 0, 2, 3];
  const full = conv2d(transpose(x, swap), transpose(g, swap), undefined, {
    stride: win.dilation,
    dilation: win.stride,
    padding: win.padding,
  });
  // Rows and columns that a stride left over belong to no weight.
  return transpose(slice(slice(full, 2, 0, shape[2]), 3, 0, shape[3]), swap);
}

/** Two-dimensional convolution (cross-correlation): x [B, I, H, W], weight [O, I, h, w] → [B, O, H', W']. */
export function conv2d(x: Tensor, weight: Tensor, bias?: Tensor, options: Partial<Window> = {}): Tensor {
  const { stride = [1, 1], padding = [0, 0], dilation = [1, 1] } = options;
  const y = apply(conv2dOp, [x, weight], { stride, padding, dilation })[0];
  return bias ? add(y, reshape(bias, [1, -1, 1, 1])) : y;
}

function requireImages(op: string, x: Tensor): void {
  if (rank(x) !== 4) throw shapeError(op, [x], 'expected [batch, channels, rows, columns]');
}

/** Average over windows, padding counted as zeros: x [B, C, H, W]. */
export function averagePool2d(x: Tensor, kernel: Pair, options: Partial<Window> = {}): Tensor {
  requireImages('averagePool2d', x);
  const [batch, channels, height, width] = x.shape;
  const area = kernel[0] * kernel[1];
  const weight = fill([1, 1, ...kernel], 1 / area, x.dtype);
  const planes = reshape(x, [batch * channels, 1, height, width]);
  const y = conv2d(planes, weight, undefined, { stride: kernel, ...options });
  return reshape(y, [batch, channels, y.shape[2], y.shape[3]]);
}

const maxPoolOp: Op = {
  name: 'maxPool2d',
  infer: ([x], a) => {
    requireImages('maxPool2d', x);
    const kernel = a.kernel as number[];
    const [rows, columns] = ([0, 1] as const).map((i) => outputSize(x.shape[2 + i], kernel[i], window(a), i));
    if (rows < 1 || columns < 1)
      throw shapeError('maxPool2d', [x], 'the window is larger than the padded input');
    const shape = [x.shape[0], x.shape[1], rows, columns];
    return [
      { shape, dtype: x.dtype },
      { shape, dtype: 'int64' },
    ];
  },
  gradient: (node, [g]) => {
    if (!g) return [];
    const { shape, dtype } = node.inputs[0];
    const flat = (t: Tensor) => reshape(t, [sizeOf(t.shape)]);
    return [reshape(scatterAdd(fill([sizeOf(shape)], 0, dtype), flat(node.outputs[1]), flat(g), 0), shape)];
  },
  lower: (node, builder) =>
    builder.emitFor(node, 'MaxPool', {
      ...onnxWindow(window(node.attributes)),
      kernel_shape: node.attributes.kernel as number[],
    }),
  evaluate: (node, [x]) => maxPoolReference(node, x),
};

function maxPoolReference(node: Node, x: NDArray): NDArray[] {
  const [values, indices] = node.outputs.map((t) => reference(t.dtype, t.shape));
  values.data.fill(Number.NEGATIVE_INFINITY as never);
  const [batch, channels, height, width] = x.shape;
  const plane: Shape = [batch * channels, 1, height, width];
  const windows: Shape = [batch * channels, 1, values.shape[2], values.shape[3]];
  const kernel = node.attributes.kernel as number[];
  products(plane, [1, 1, ...kernel], windows, window(node.attributes), (i, _, k) => {
    if (Number(x.data[i]) <= Number(values.data[k])) return;
    values.data[k] = x.data[i];
    indices.data[k] = BigInt(i);
  });
  return [values, indices];
}

/** Maximum over windows: x [B, C, H, W]. */
export function maxPool2d(x: Tensor, kernel: Pair, options: Partial<Window> = {}): Tensor {
  const { stride = kernel, padding = [0, 0], dilation = [1, 1] } = options;
  return apply(maxPoolOp, [x], { kernel, stride, padding, dilation })[0];
}
