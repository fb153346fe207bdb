import { type BidiagonalSvd, bidiagonalQr, norm2, rotateRows } from './bidiagonal-qr.ts';
import { gemm } from './gemm.ts';
import { scratch } from './scratch.ts';
import { secularRoots } from './secular.ts';
import { secularVectors } from './secular-vectors.ts';

/** Blocks of this size or less go to the QR iteration. */
const LEAF = 28;
/** What counts as zero in a matrix of zeros; its square is still a normal number. */
const SMALLEST = 2 ** -350;

/**
 * The SVD of an upper bidiagonal matrix by divide and conquer: Gu and Eisenstat (1995), in the arrangement of
 * LAPACK's dbdsdc (dlasd1 to dlasd3). Nearly all work is matrix products.
 * @param diagonal n elements
 * @param above    n elements; above[i] is at row i, column i + 1; the last counts only with `extraColumn`
 * @param wanted   right vectors alone take half the products; `ut` is then of no use
 */
export function bidiagonalSvd(
  diagonal: Float64Array,
  above: Float64Array,
  wanted: 'both' | 'right' = 'both',
  extraColumn = false,
): BidiagonalSvd {
  const n = diagonal.length;
  if (n <= LEAF) return bidiagonalQr(diagonal, above, extraColumn);
  const middle = n >> 1;
  const left = bidiagonalSvd(diagonal.subarray(0, middle), above.subarray(0, middle), wanted, true);
  const right = bidiagonalSvd(diagonal.subarray(middle + 1), above.subarray(middle + 1), wanted, extraColumn);
  return merge(left, right, diagonal[middle], above[middle], wanted, extraColumn);
}

/** A row of the merged factors while they are joined: its value of d and z, and where it is not zero. */
interface Entry {
  d: number;
  z: number;
  /** Row in the stacked old vectors. */
  readonly row: number;
  /** Non-zero columns: left part, right part, or both. */
  part: 'left' | 'both' | 'right';
}

function merge(
  left: BidiagonalSvd,
  right: BidiagonalSvd,
  alpha: number,
  beta: number,
  wanted: 'both' | 'right',
  extraColumn: boolean,
): BidiagonalSvd {
  const nl = left.d.length;
  const nr = right.d.length;
  const n = nl + nr + 1;
  const m = extraColumn ? n + 1 : n;
  const ut = wanted === 'both' ? stackLeft(left, right, n) : undefined;
  const vt = stackRight(left, right, m);
  const first = firstEntry(vt, nl, m, alpha, beta, extraColumn);
  const others = [
    ...Array.from(left.d, (d, i): Entry => ({ d, z: alpha * vt[i * m + nl], row: i, part: 'left' })),
    ...Array.from(right.d, (d, i): Entry => {
      const row = nl + 1 + i;
      return { d, z: beta * vt[row * m + nl + 1], row, part: 'right' };
    }),
  ];
  const { kept, deflated } = deflate(first, others, ut, vt, n, m, Math.max(Math.abs(alpha), Math.abs(beta)));
  return assemble(kept, deflated, ut, vt, n, m, nl);
}

/** diag(U1, 1, U2) as rows. */
function stackLeft(left: BidiagonalSvd, right: BidiagonalSvd, n: number): Float64Array {
  const nl = left.d.length;
  const nr = right.d.length;
  const ut = new Float64Array(n * n);
  for (let i = 0; i < nl; i++) ut.set(left.ut.subarray(i * nl, (i + 1) * nl), i * n);
  ut[nl * n + nl] = 1;
  for (let i = 0; i < nr; i++) ut.set(right.ut.subarray(i * nr, (i + 1) * nr), (nl + 1 + i) * n + nl + 1);
  return ut;
}

/** diag(V1, V2) as rows; row nl is the null vector of the left part, the last row (where B has one) that of the right. */
function stackRight(left: BidiagonalSvd, right: BidiagonalSvd, m: number): Float64Array {
  const ml = left.d.length + 1;
  const mr = m - ml;
  const vt = new Float64Array(m * m);
  for (let i = 0; i < ml; i++) vt.set(left.vt.subarray(i * ml, (i + 1) * ml), i * m);
  for (let i = 0; i < mr; i++) vt.set(right.vt.subarray(i * mr, (i + 1) * mr), (ml + i) * m + ml);
  return vt;
}

/** The entry of d = 0: the null vectors of both parts are rotated so that only one of them meets the middle row. */
function firstEntry(
  vt: Float64Array,
  nl: number,
  m: number,
  alpha: number,
  beta: number,
  extraColumn: boolean,
): Entry {
  const z = alpha * vt[nl * m + nl];
  if (!extraColumn) return { d: 0, z, row: nl, part: 'left' };
  const other = beta * vt[(m - 1) * m + nl + 1];
  const r = norm2(z, other);
  if (r > 0) rotateRows(vt, m, nl, m - 1, z / r, other / r);
  return { d: 0, z: r, row: nl, part: 'both' };
}

/**
 * Sets aside the entries whose z vanishes, and rotates one of two equal d out of z.
 * @returns kept: the first entry, then the others by ascending d, apart by more than the tolerance
 */
function deflate(
  first: Entry,
  others: Entry[],
  ut: Float64Array | undefined,
  vt: Float64Array,
  n: number,
  m: number,
  coupling: number,
): { kept: Entry[]; deflated: Entry[] } {
  others.sort((a, b) => a.d - b.d || a.row - b.row);
  const tolerance = 8 * Number.EPSILON * Math.max(coupling, others[others.length - 1].d, SMALLEST);
  const kept: Entry[] = [first];
  const deflated: Entry[] = [];
  for (const entry of others) {
    if (Math.abs(entry.z) <= tolerance) {
      deflated.push(entry);
      continue;
    }
    const previous = kept[kept.length - 1];
    if (previous !== first && entry.d - previous.d <= tolerance) {
      kept.pop();
      deflated.push(combine(previous, entry, ut, vt, n, m));
    }
    kept.push(entry);
  }
  if (Math.abs(first.z) <= tolerance) first.z = first.z < 0 ? -tolerance : tolerance;
  if (kept.length > 1 && kept[1].d <= tolerance / 2) kept[1].d = tolerance / 2;
  return { kept, deflated };
}

/** Rotates `previous` into `entry`, which has (nearly) the same d; returns what is left of it, with z = 0. */
function combine(
  previous: Entry,
  entry: Entry,
  ut: Float64Array | undefined,
  vt: Float64Array,
  n: number,
  m: number,
): Entry {
  const r = norm2(entry.z, previous.z);
  if (ut) rotateRows(ut, n, entry.row, previous.row, entry.z / r, previous.z / r);
  rotateRows(vt, m, entry.row, previous.row, entry.z / r, previous.z / r);
  entry.z = r;
  if (entry.part !== previous.part) entry.part = 'both';
  return { ...previous, z: 0, part: entry.part };
}

/** Solves the secular problem of the kept entries and multiplies their vectors by its singular vectors. */
function assemble(
  kept: Entry[],
  deflated: Entry[],
  ut: Float64Array | undefined,
  vt: Float64Array,
  n: number,
  m: number,
  nl: number,
): BidiagonalSvd {
  const k = kept.length;
  const d = Float64Array.from(kept, (e) => e.d);
  const roots = secularRoots(
    d,
    Float64Array.from(kept, (e) => e.z),
  );
  // Groups, so that the zero blocks of the old vectors stay out of the products.
  const order = (['left', 'both', 'right'] as const).flatMap((part) =>
    kept.flatMap((e, i) => (e.part === part ? [i] : [])),
  );
  const leftEnd = kept.filter((e) => e.part !== 'right').length;
  const bothStart = kept.filter((e) => e.part === 'left').length;
  const { uHat, vHat } = secularVectors(
    d,
    Float64Array.from(kept, (e) => e.z),
    roots,
    order,
  );
  const out = { d: new Float64Array(n), ut: new Float64Array(ut ? n * n : 0), vt: new Float64Array(m * m) };
  for (let i = 0; i < k; i++) out.d[i] = roots.s[i] < SMALLEST ? 0 : roots.s[i];
  const rows = order.map((i) => kept[i].row);
  if (ut) {
    // The old left vector of the first entry is e_nl, in neither half: its coefficients are column nl of the result.
    const firstAt = order.indexOf(0);
    combineRows(uHat, k, gather(ut, n, rows), n, out.ut, [0, nl, 0, leftEnd], [nl + 1, n, bothStart, k]);
    for (let i = 0; i < k; i++) out.ut[i * n + nl] = uHat[i * k + firstAt];
  }
  combineRows(vHat, k, gather(vt, m, rows), m, out.vt, [0, nl + 1, 0, leftEnd], [nl + 1, m, bothStart, k]);
  for (const [i, e] of deflated.entries()) {
    out.d[k + i] = e.d;
    if (ut) out.ut.set(ut.subarray(e.row * n, (e.row + 1) * n), (k + i) * n);
    out.vt.set(vt.subarray(e.row * m, (e.row + 1) * m), (k + i) * m);
  }
  if (m > n) out.vt.set(vt.subarray(n * m), n * m);
  return out;
}

function gather(a: Float64Array, n: number, rows: readonly number[]): Float64Array {
  const out = scratch('divide-and-conquer/rows', rows.length * n);
  for (const [to, from] of rows.entries()) out.set(a.subarray(from * n, (from + 1) * n), to * n);
  return out;
}

/** Columns [from, to) of `out` from the old rows [first, last) only, for either half. */
type Half = readonly [from: number, to: number, first: number, last: number];

function combineRows(
  hat: Float64Array,
  k: number,
  old: Float64Array,
  stride: number,
  out: Float64Array,
  ...halves: Half[]
): void {
  for (const [from, to, first, last] of halves)
    gemm(
      k,
      to - from,
      last - first,
      1,
      { data: hat, offset: first, stride: k },
      { data: old, offset: first * stride + from, stride },
      { data: out, offset: from, stride },
    );
}
