import {
  BLOCK,
  collect,
  type Panels,
  panelWorkspace,
  subtractPanels,
  subtractProduct,
  subtractRows,
} from './panels.ts';
import { householder, type Reflectors } from './reflectors.ts';
import { dots } from './vectors.ts';

export interface Tridiagonal {
  readonly d: Float64Array;
  /** n elements: e[i] stands beside d[i] and d[i + 1]; the last is 0. */
  readonly e: Float64Array;
  /** A = Q T Q^T, with Q as products of reflectors. */
  readonly q: Reflectors[];
}

/** Where things lie in the workspace, as indices of doubles. */
interface Layout extends Panels {
  readonly v: number;
  readonly w: number;
}

/**
 * Reduces a symmetric matrix to tridiagonal form by blocked Householder reflections (Dongarra, Sorensen and Hammarling
 * 1989; LAPACK's dsytrd and dlatrd): inside a block the matrix stays as it is, A - V W^T - W V^T being the current one,
 * and is updated by matrix products at its end.
 * @param source n x n, kept; both triangles count
 */
export function tridiagonalize(source: Float64Array, n: number): Tridiagonal {
  const [panels, [v, w]] = panelWorkspace(source, n, 2);
  const l: Layout = { ...panels, v, w };
  const result: Tridiagonal = { d: new Float64Array(n), e: new Float64Array(n), q: [] };
  for (let start = 0; start < n - 1; start += BLOCK) {
    const count = Math.min(BLOCK, n - 1 - start);
    l.f.fill(0, v, l.weights);
    const taus = new Float64Array(count);
    for (let i = 0; i < count; i++) [taus[i], result.d[start + i], result.e[start + i]] = reduce(l, start, i);
    result.q.push(collect(l, v, start + 1, taus));
    subtractPanels(l, start + count, count, [
      [v, w],
      [w, v],
    ]);
  }
  if (n > 0) result.d[n - 1] = l.f[l.a + n * n - 1];
  return result;
}

/** Makes v_i and w_i from column `start + i`, brought up to date; returns [tau, d, e]. */
function reduce(l: Layout, start: number, i: number): [number, number, number] {
  const { f, n, a, v, w, column } = l;
  const c = start + i;
  const next = c + 1;
  f.copyWithin(column, a + c * n + c, a + next * n);
  subtractRows(l, column, c, i, v, w, c);
  subtractRows(l, column, c, i, w, v, c);
  const d = f[column];
  const vi = v + i * n + next;
  f.copyWithin(vi, column + 1, column + n - c);
  const [tau, e] = householder(f, vi, n - next);

  const wi = w + i * n + next;
  dots(column, a + next * n + next, n, n - next, n - next, vi);
  f.copyWithin(wi, column, column + n - next);
  subtractProduct(l, wi, next, w, v, i, vi, next);
  subtractProduct(l, wi, next, v, w, i, vi, next);
  let inner = 0;
  for (let j = 0; j < n - next; j++) inner += f[wi + j] * f[vi + j];
  const along = 0.5 * tau * tau * inner;
  for (let j = 0; j < n - next; j++) f[wi + j] = tau * f[wi + j] - along * f[vi + j];
  return [tau, d, e];
}
