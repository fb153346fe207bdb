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
import { addRows, dots } from './vectors.ts';

export interface Bidiagonal {
  readonly d: Float64Array;
  /** n elements: e[i] is at row i, column i + 1; the last is 0. */
  readonly e: Float64Array;
  /** A = Q B P^T, with Q and P as products of reflectors. */
  readonly q: Reflectors[];
  readonly p: Reflectors[];
}

/** Where things lie in the workspace, as indices of doubles; V, Y, X, U hold a vector of length n a row. */
interface Layout extends Panels {
  readonly v: number;
  readonly y: number;
  readonly x: number;
  readonly u: number;
}

/**
 * Reduces a square matrix to upper bidiagonal form by blocked Householder reflections (Dongarra, Sorensen and
 * Hammarling 1989; LAPACK's dgebrd and dlabrd): inside a block the matrix stays as it is, A - V Y^T - X U^T being
 * the current one, and is updated by a matrix product at its end.
 * @param source n x n, kept
 */
export function bidiagonalize(source: Float64Array, n: number): Bidiagonal {
  const [panels, [v, y, x, u]] = panelWorkspace(source, n, 4);
  const w: Layout = { ...panels, v, y, x, u };
  const result: Bidiagonal = { d: new Float64Array(n), e: new Float64Array(n), q: [], p: [] };
  for (let start = 0; start < n; start += BLOCK) {
    const count = Math.min(BLOCK, n - start);
    w.f.fill(0, v, w.weights);
    const tauQ = new Float64Array(count);
    const tauP = new Float64Array(count);
    for (let i = 0; i < count; i++) {
      [tauQ[i], result.d[start + i]] = reduceColumn(w, start, i);
      if (start + i + 1 < n) [tauP[i], result.e[start + i]] = reduceRow(w, start, i, tauQ[i]);
    }
    result.q.push(collect(w, v, start, tauQ));
    if (start + 1 < n) result.p.push(collect(w, u, start + 1, tauP.subarray(0, n - 1 - start)));
    subtractPanels(w, start + count, count, [
      [v, y],
      [x, u],
    ]);
  }
  return result;
}

/** Makes v_i from column `start + i`, brought up to date; returns [tau, d]. */
function reduceColumn(w: Layout, start: number, i: number): [number, number] {
  const { f, n, a, v, y, x, u } = w;
  const c = start + i;
  const vi = v + i * n + c;
  for (let row = c; row < n; row++) f[vi + row - c] = f[a + row * n + c];
  subtractRows(w, vi, c, i, v, y, c);
  subtractRows(w, vi, c, i, x, u, c);
  return householder(f, vi, n - c);
}

/** Makes y_i, then u_i from row `start + i`, then x_i; returns [tau, e]. */
function reduceRow(w: Layout, start: number, i: number, tauQ: number): [number, number] {
  const { f, n, a, v, y, x, u, column } = w;
  const c = start + i;
  const next = c + 1;
  const size = n - next;
  const vi = v + i * n + c;
  const yi = y + i * n + next;
  addRows(yi, a + c * n + next, n, n - c, size, vi);
  subtractProduct(w, yi, next, v, y, i, vi, c);
  subtractProduct(w, yi, next, x, u, i, vi, c);
  for (let j = yi; j < yi + size; j++) f[j] *= tauQ;

  const ui = u + i * n + next;
  f.copyWithin(ui, a + c * n + next, a + c * n + n);
  subtractRows(w, ui, next, i + 1, y, v, c);
  subtractRows(w, ui, next, i, u, x, c);
  const [tauP, e] = householder(f, ui, size);

  const xi = x + i * n + next;
  dots(column, a + next * n + next, n, size, size, ui);
  f.copyWithin(xi, column, column + size);
  subtractProduct(w, xi, next, y, v, i + 1, ui, next);
  subtractProduct(w, xi, next, u, x, i, ui, next);
  for (let j = xi; j < xi + size; j++) f[j] *= tauP;
  return [tauP, e];
}
