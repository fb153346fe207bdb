import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  add,
  array,
  averagePool2d,
  cast,
  concat,
  conv2d,
  crossEntropy,
  equal,
  evaluate,
  exp,
  expand,
  gather,
  gradients,
  input,
  linear,
  linearCrossEntropy,
  logSoftmax,
  matmul,
  mul,
  type NDArray,
  pad,
  program,
  reshape,
  type Shape,
  scatterAdd,
  scatterRows,
  sizeOf,
  slice,
  softmax,
  split,
  sum,
  type Tensor,
  transpose,
  unsqueeze,
} from './index.ts';

const size = fc.integer({ min: 1, max: 5 });
const shapes = fc.array(size, { minLength: 1, maxLength: 4 });
const seeds = fc.nat(1_000_000);
const options = { numRuns: 60, seed: 7 };

/** Numbers in (−1, 1) without pattern. */
function noise(seed: number, count: number): Float64Array {
  return Float64Array.from({ length: count }, (_, i) => Math.sin((seed + 1) * 12.9898 + i * 78.233));
}

function real(shape: Shape, seed: number): NDArray {
  return { dtype: 'float32', shape, data: noise(seed, sizeOf(shape)) };
}

function ids(shape: Shape, high: number, seed: number): NDArray {
  const values = noise(seed, sizeOf(shape)).map((v) => Math.floor(((v + 1) / 2) * high) % high);
  return array(values, shape, 'int64');
}

function values(outputs: Record<string, Tensor>, feeds: Record<string, NDArray>): Record<string, NDArray> {
  return evaluate(program(outputs), feeds);
}

function same(a: NDArray, b: NDArray): void {
  expect(a.shape).toEqual(b.shape);
  a.data.forEach((v, i) => {
    expect(Number(v)).toBeCloseTo(Number(b.data[i]), 10);
  });
}

/** For linear f, Σ g ∘ f(x) = Σ x ∘ fᵀ(g): the gradient rule is the exact adjoint. */
function adjoint(x: Tensor, f: (x: Tensor) => Tensor, feeds: Record<string, NDArray>): void {
  const y = f(x);
  const g = input('g', y.shape);
  const [back] = gradients(y, [x], g);
  const out = values({ a: sum(mul(y, g)), b: sum(mul(x, back)) }, { ...feeds, g: real(y.shape, 99) });
  expect(Number(out.a.data[0])).toBeCloseTo(Number(out.b.data[0]), 9);
}

describe('for any shape', () => {
  it('broadcasting adds what expanding adds', () => {
    fc.assert(
      fc.property(shapes, fc.nat(15), seeds, (shape, mask, seed) => {
        const small = shape.map((d, i) => ((mask >> i) & 1 ? 1 : d));
        const [a, b] = [input('a', shape), input('b', small)];
        const out = values(
          { plain: add(a, b), expanded: add(a, expand(b, shape)) },
          { a: real(shape, seed), b: real(small, seed + 1) },
        );
        same(out.plain, out.expanded);
      }),
      options,
    );
  });

  it('a product is the sum of the products of its elements', () => {
    fc.assert(
      fc.property(fc.array(size, { maxLength: 2 }), size, size, size, seeds, (batch, m, k, n, seed) => {
        const [a, b] = [input('a', [...batch, m, k]), input('b', [...batch, k, n])];
        const out = values(
          { product: matmul(a, b), elements: sum(mul(unsqueeze(a, -1), unsqueeze(b, -3)), -2) },
          { a: real(a.shape, seed), b: real(b.shape, seed + 1) },
        );
        same(out.product, out.elements);
      }),
      options,
    );
  });

  it('parts joined again are the whole, padding sliced off leaves nothing, transposing back restores', () => {
    fc.assert(
      fc.property(shapes, size, fc.nat(3), seeds, (shape, parts, axisSeed, seed) => {
        const axis = axisSeed % shape.length;
        const full = shape.map((d, i) => (i === axis ? d * parts : d));
        const x = input('x', full);
        const perm = full.map((_, i) => (i + 1) % full.length);
        const back = perm.map((_, i) => perm.indexOf(i));
        const padded = slice(pad(x, axis - full.length, 2, 1), axis, 2, 2 + full[axis]);
        const out = values(
          {
            x,
            joined: concat(split(x, axis, parts), axis),
            padded,
            back: transpose(transpose(x, perm), back),
          },
          { x: real(full, seed) },
        );
        for (const name of ['joined', 'padded', 'back']) same(out[name], out.x);
      }),
      options,
    );
  });

  it('gathering rows is a product with one-hot rows', () => {
    fc.assert(
      fc.property(size, size, size, seeds, (rows, width, count, seed) => {
        const [table, i] = [input('table', [rows, width]), input('i', [count], 'int64')];
        const positions = input('positions', [rows], 'int64');
        const hot = cast(equal(reshape(i, [count, 1]), positions), 'float32');
        const out = values(
          { gathered: gather(table, i), product: matmul(hot, table) },
          {
            table: real([rows, width], seed),
            i: ids([count], rows, seed),
            positions: array(
              Array.from({ length: rows }, (_, r) => r),
              [rows],
              'int64',
            ),
          },
        );
        same(out.gathered, out.product);
      }),
      options,
    );
  });

  it('softmax is the exponential of logSoftmax and its rows sum to one', () => {
    fc.assert(
      fc.property(shapes, seeds, (shape, seed) => {
        const x = mul(input('x', shape), 40);
        const out = values(
          { soft: softmax(x), exponential: exp(logSoftmax(x)), total: sum(softmax(x), -1) },
          { x: real(shape, seed) },
        );
        same(out.soft, out.exponential);
        out.total.data.forEach((v) => {
          expect(Number(v)).toBeCloseTo(1, 12);
        });
      }),
      options,
    );
  });

  it('chunked cross-entropy and its gradients equal the cross-entropy of all logits', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 9 }), size, size, size, seeds, (n, d, v, rows, seed) => {
        const [h, w] = [input('h', [n, d]), input('w', [v, d])];
        const [b, t, m] = [input('b', [v]), input('t', [n], 'int64'), input('m', [n])];
        const losses = {
          chunked: linearCrossEntropy(h, w, t, m, { bias: b, rows }),
          whole: crossEntropy(linear(h, w, b), t, m),
        };
        const feeds = { h: real([n, d], seed), w: real([v, d], seed + 1), b: real([v], seed + 2) };
        const labels = { t: ids([n], v, seed), m: real([n], seed + 3) };
        const [chunked, whole] = Object.values(losses).map((loss) => {
          const [dh, dw, db, dm] = gradients(loss, [h, w, b, m]);
          return values({ loss, dh, dw, db, dm }, { ...feeds, ...labels });
        });
        for (const name of Object.keys(whole)) same(chunked[name], whole[name]);
      }),
      options,
    );
  });
});

describe('the gradient of a linear operator is its adjoint', () => {
  it('for gathering and scattering with repeated rows', () => {
    fc.assert(
      fc.property(size, size, fc.integer({ min: 1, max: 9 }), seeds, (rows, width, count, seed) => {
        const i = input('i', [count], 'int64');
        const feeds = { i: ids([count], rows, seed) };
        const table = input('x', [rows, width]);
        adjoint(table, (x) => gather(x, i), { ...feeds, x: real([rows, width], seed) });
        const updates = input('x', [count, width]);
        const fed = { ...feeds, x: real([count, width], seed) };
        adjoint(updates, (x) => scatterRows(x, i, [rows, width]), fed);
        const at = expand(reshape(i, [count, 1]), [count, width]);
        adjoint(table, (x) => scatterAdd(x, at, gather(x, i), 0), { ...feeds, x: real([rows, width], seed) });
      }),
      options,
    );
  });

  it('for convolution and average pooling with any window', () => {
    const pair = fc.tuple(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 3 }));
    const padding = fc.tuple(fc.nat(2), fc.nat(2));
    const property = fc.property(
      pair,
      pair,
      pair,
      padding,
      seeds,
      ([kr, kc], stride, dilation, pads, seed) => {
        const win = { stride, dilation, padding: pads };
        const image = input('x', [2, 2, 8, 9]);
        const weight = input('x', [3, 2, kr, kc]);
        const [xs, ws] = [real(image.shape, seed), real(weight.shape, seed + 1)];
        const fixed = input('fixed', weight.shape);
        adjoint(image, (x) => conv2d(x, fixed, undefined, win), { x: xs, fixed: ws });
        const fixedImage = input('fixed', image.shape);
        adjoint(weight, (w) => conv2d(fixedImage, w, undefined, win), { x: ws, fixed: xs });
        adjoint(image, (x) => averagePool2d(x, [kr, kc], win), { x: xs });
      },
    );
    fc.assert(property, { ...options, numRuns: 25 });
  });
});
