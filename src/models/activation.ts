import { RankineError } from '../errors.ts';
import { gelu, geluTanh, mul, relu, sigmoid, silu, type Tensor, tanh } from '../graph/index.ts';

const ACTIVATIONS: Readonly<Record<string, (x: Tensor) => Tensor>> = {
  gelu,
  gelu_python: gelu,
  gelu_new: geluTanh,
  gelu_fast: geluTanh,
  gelu_pytorch_tanh: geluTanh,
  quick_gelu: (x) => mul(x, sigmoid(mul(x, 1.702))),
  relu,
  sigmoid,
  silu,
  swish: silu,
  tanh,
};

/** An activation by the name that config.json uses. @throws RankineError `models/activation` */
export function activation(name: string): (x: Tensor) => Tensor {
  if (Object.hasOwn(ACTIVATIONS, name)) return ACTIVATIONS[name];
  throw new RankineError(
    'models/activation',
    `The activation "${name}" is not known.`,
    `Known: ${Object.keys(ACTIVATIONS).join(', ')}.`,
  );
}
