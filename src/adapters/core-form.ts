import type { PeftAdapter } from '../formats/peft.ts';
import { add, matmul, type NDArray, scale, type Tensor, zeros } from '../graph/index.ts';
import { multiply, type Svd } from '../linalg/index.ts';
import type { LayerSpec } from '../models/architecture.ts';
import type { BaseLayer, Context } from '../models/context.ts';
import { productsToPeft } from './lora-peft.ts';
import { type AdapterOptions, checkRank } from './options.ts';
import type { ExportedFactors, FactorShapes, Tensors } from './weight-form.ts';

/** W₀ + s B R A: B ∈ R^{m×r} and A ∈ R^{r×n} frozen, the core R ∈ R^{r×r} trained. LoRA-XS, LoRA-SB. */
export type CoreOptions = AdapterOptions & { readonly dropout: number };

export function coreShapes(form: string, layer: LayerSpec, { rank: r }: CoreOptions): FactorShapes {
  checkRank(form, layer, r);
  return { trainable: { R: [r, r] }, frozen: { A: [r, layer.in], B: [layer.out, r] } };
}

/** y = base(x) + s · dropout(x) Aᵀ Rᵀ Bᵀ. */
export function coreForward(
  s: number,
  x: Tensor,
  base: BaseLayer,
  p: Tensors,
  o: CoreOptions,
  c: Context,
): Tensor {
  const dropped = c.dropout(x, o.dropout, `adapter.${base.spec.name}`);
  const low = matmul(matmul(dropped, p.A, { transB: true }), p.R, { transB: true });
  return add(base.forward(x), matmul(low, p.B, { transB: true, alpha: s }));
}

export function coreWeight(s: number, base: Tensor, p: Tensors): Tensor {
  return add(base, scale(matmul(matmul(p.B, p.R), p.A), s));
}

/** PEFT has no type with a core: a LORA with s B R in B's place, exact but not to be trained on as it was. */
export function coreToPeft<O extends CoreOptions>(
  layers: readonly ExportedFactors<O>[],
  options: O,
  scaleOf: (options: O) => number,
): PeftAdapter {
  const products = layers.map((layer) => {
    const { A, B, R } = layer.arrays;
    const product = multiply(asMatrix(B), asMatrix(R)).data;
    const s = scaleOf(layer.options);
    return { layer, A, B: { ...B, data: product.map((x) => s * x) } };
  });
  return productsToPeft(products, options);
}

function asMatrix(a: NDArray) {
  return { rows: a.shape[0], cols: a.shape[1], data: a.data as Float32Array };
}

/** B = U and A = Vᵀ as arrays. */
export function singularFactors({ u, vt }: Svd<Float32Array>): { A: NDArray; B: NDArray } {
  return {
    A: { dtype: 'float32', shape: [vt.rows, vt.cols], data: vt.data },
    B: { dtype: 'float32', shape: [u.rows, u.cols], data: u.data },
  };
}

export function diagonal(values: ArrayLike<number>): NDArray {
  const r = values.length;
  const out = zeros([r, r]);
  for (let i = 0; i < r; i++) out.data[i * r + i] = values[i];
  return out;
}
