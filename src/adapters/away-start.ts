import type { PeftAdapter } from '../formats/peft.ts';
import { type NDArray, zeros } from '../graph/index.ts';
import { multiply } from '../linalg/index.ts';
import { loraToPeft } from './lora-peft.ts';
import type { LoraOptions } from './options.ts';
import type { Arrays, ExportedFactors, Factors } from './weight-form.ts';

/** A LoRA that starts at s B₀ A₀ instead of zero (PiSSA, LoRA-GA): the frozen weight becomes W₀ − s B₀ A₀. */
export function startAway(weight: NDArray, A: NDArray, B: NDArray, s: number): Factors {
  const copy = (a: NDArray): NDArray => ({ ...a, data: a.data.slice() });
  return {
    trainable: { A, B },
    frozen: { A0: copy(A), B0: copy(B) },
    base: residual(weight, A, B, s),
  };
}

function residual(weight: NDArray, A: NDArray, B: NDArray, s: number): NDArray {
  const [m, n] = weight.shape;
  const [r] = A.shape;
  const { data } = multiply(
    { rows: m, cols: r, data: B.data as Float32Array },
    { rows: r, cols: n, data: A.data as Float32Array },
  );
  // `map`, not `from`: the latter gathers the numbers in a list of objects first.
  return { ...weight, data: (weight.data as Float32Array).map((w, i) => w - s * data[i]) };
}

/** On W₀ itself the change is s (B A − B₀ A₀): a LORA of twice the rank, so that alpha is 2 r s. */
export function awayToPeft<O extends LoraOptions>(
  layers: readonly ExportedFactors<O>[],
  o: O,
  scaleOf: (options: O) => number,
): PeftAdapter {
  const doubled = (own: O): O => ({ ...own, rank: 2 * own.rank, alpha: 2 * own.rank * scaleOf(own) });
  const wide = layers.map((layer) => ({
    ...layer,
    arrays: sinceStart(layer.arrays),
    options: doubled(layer.options),
  }));
  return loraToPeft(wide, doubled({ ...o, alpha: o.alpha ?? 2 * o.rank }), {});
}

/** [A; A₀] and [B, −B₀]. */
function sinceStart({ A, B, A0, B0 }: Arrays): Arrays {
  const [[r, n], [m]] = [A.shape, B.shape];
  const [wideA, wideB] = [zeros([2 * r, n]), zeros([m, 2 * r])];
  (wideA.data as Float32Array).set(A.data as Float32Array);
  (wideA.data as Float32Array).set(A0.data as Float32Array, r * n);
  for (let i = 0; i < m; i++)
    for (let k = 0; k < r; k++) {
      wideB.data[i * 2 * r + k] = B.data[i * r + k];
      wideB.data[i * 2 * r + r + k] = -Number(B0.data[i * r + k]);
    }
  return { A: wideA, B: wideB };
}
