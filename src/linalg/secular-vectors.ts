import type { SecularRoots } from './secular.ts';

/**
 * Singular vectors of [z; diag(d)] as rows, their elements in the given order. z is recomputed from the roots
 * (Löwner's formula): for that z the computed roots are exact, so the vectors are orthogonal to working precision.
 * They are written over the roots, which are of no use any more.
 */
export function secularVectors(
  d: Float64Array,
  z: Float64Array,
  roots: SecularRoots,
  order: readonly number[],
) {
  const k = d.length;
  const zHat = loewner(d, z, roots);
  const { minus: vHat, plus: uHat } = roots;
  const [us, vs] = [new Float64Array(k), new Float64Array(k)];
  for (let i = 0; i < k; i++) {
    let uNorm = 0;
    let vNorm = 0;
    for (let at = 0; at < k; at++) {
      const j = order[at];
      const v = zHat[j] / (roots.minus[i * k + j] * roots.plus[i * k + j]);
      const u = j === 0 ? -1 : d[j] * v;
      us[at] = u;
      vs[at] = v;
      uNorm += u * u;
      vNorm += v * v;
    }
    const uScale = 1 / Math.sqrt(uNorm);
    const vScale = 1 / Math.sqrt(vNorm);
    for (let at = 0; at < k; at++) {
      uHat[i * k + at] = us[at] * uScale;
      vHat[i * k + at] = vs[at] * vScale;
    }
  }
  return { uHat, vHat };
}

function loewner(d: Float64Array, z: Float64Array, { minus, plus }: SecularRoots): Float64Array {
  const k = d.length;
  const last = (k - 1) * k;
  const squares = Float64Array.from({ length: k }, (_, j) => minus[last + j] * plus[last + j]);
  for (let i = 0; i < k - 1; i++)
    for (let j = 0; j < k; j++) {
      const pole = i < j ? i : i + 1;
      squares[j] *= ((minus[i * k + j] * plus[i * k + j]) / (d[j] - d[pole])) * (1 / (d[j] + d[pole]));
    }
  return squares.map((square, j) => (z[j] < 0 ? -1 : 1) * Math.sqrt(Math.abs(square)));
}
