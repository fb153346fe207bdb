import type { LayerSpec, ParameterSpec } from './architecture.ts';

interface LayerOptions {
  readonly bias?: boolean;
  /** Stored as in×out. */
  readonly transposed?: boolean;
  readonly block?: number;
  /** Standard deviation of fresh weights, where it is not the model's. */
  readonly std?: number;
  /** Part of a classification head. */
  readonly head?: boolean;
}

/** Collects an architecture's layers and parameters in checkpoint order. */
export interface Declarations {
  readonly layers: LayerSpec[];
  readonly parameters: Map<string, ParameterSpec>;
  linear(name: string, out: number, inputs: number, options?: LayerOptions): void;
  embedding(name: string, rows: number, width: number): void;
  conv2d(name: string, out: number, inputs: number, kernel: readonly [number, number]): void;
  /** Scale alone. */
  rmsNorm(name: string, width: number): void;
  /** Scale and shift. */
  layerNorm(name: string, width: number): void;
  /** A parameter that belongs to no layer. */
  tensor(name: string, shape: readonly number[]): void;
}

/** @param std standard deviation of fresh weights; biases are zero, scales one */
export function declarations(std: number): Declarations {
  const layers: LayerSpec[] = [];
  const parameters = new Map<string, ParameterSpec>();
  return {
    layers,
    parameters,
    linear(name, out, inputs, { bias = false, transposed, block, std: own = std, head } = {}) {
      layers.push({ name, kind: 'linear', out, in: inputs, bias, transposed, block });
      const shape = transposed ? [inputs, out] : [out, inputs];
      parameters.set(`${name}.weight`, { shape, init: { normal: own }, head });
      if (bias) parameters.set(`${name}.bias`, { shape: [out], init: 'zeros', head });
    },
    embedding(name, rows, width) {
      layers.push({ name, kind: 'embedding', out: rows, in: width });
      parameters.set(`${name}.weight`, { shape: [rows, width], init: { normal: std } });
    },
    conv2d(name, out, inputs, kernel) {
      layers.push({ name, kind: 'conv2d', out, in: inputs, bias: true, kernel });
      parameters.set(`${name}.weight`, { shape: [out, inputs, ...kernel], init: { normal: std } });
      parameters.set(`${name}.bias`, { shape: [out], init: 'zeros' });
    },
    rmsNorm(name, width) {
      parameters.set(`${name}.weight`, { shape: [width], init: 'ones' });
    },
    layerNorm(name, width) {
      parameters.set(`${name}.weight`, { shape: [width], init: 'ones' });
      parameters.set(`${name}.bias`, { shape: [width], init: 'zeros' });
    },
    tensor(name, shape) {
      parameters.set(name, { shape, init: { normal: std } });
    },
  };
}
