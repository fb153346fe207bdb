import { cast, gather, reshape, scatterRows, type Tensor, transpose } from '../graph/index.ts';
import { matrix, qr, transpose as turned } from '../linalg/index.ts';
import type { ParameterInfo, PrepareInputs, StateSpec } from './optimizer.ts';
import { type ProjectionOptions, projection } from './projection.ts';

type State = Readonly<Record<string, Tensor>>;

/** Divides a matrix's gradient into a part with optimizer state and the rest; `up ∘ down` is an orthogonal projector. */
export interface Split {
  readonly state: Readonly<Record<string, StateSpec>>;
  /** Shape of the part with state. */
  readonly shape: readonly number[];
  /** True where nothing is left beside that part. */
  readonly whole: boolean;
  down(gradient: Tensor, state: State): Tensor;
  /** Back in the gradient's shape, zero elsewhere. */
  up(part: Tensor, state: State): Tensor;
  /** Chooses anew at steps 1, T + 1, 2T + 1, … */
  prepare(inputs: PrepareInputs): void;
}

export interface SplitOptions {
  readonly density: number;
  readonly gap: number;
  readonly split: 'columns' | 'rows' | 'entries' | 'svd' | 'random' | 'permutation';
  readonly projection: ProjectionOptions['projection'];
}

/** Undefined where the density leaves no part with state. */
export function splitOf(parameter: ParameterInfo, o: SplitOptions): Split | undefined {
  const byIndex = o.split === 'columns' || o.split === 'rows' || o.split === 'entries';
  return byIndex ? indexSplit(parameter, o) : subspaceSplit(parameter, o);
}

/** Columns, rows or single entries, drawn without replacement. */
function indexSplit({ shape: [m, n], layer }: ParameterInfo, o: SplitOptions): Split | undefined {
  // Columns are inputs of W ∈ R^{out×in}: rows where the checkpoint stores in×out.
  const byColumns = o.split !== 'entries' && (o.split === 'columns') !== (layer?.transposed ?? false);
  const [items, width] = o.split === 'entries' ? [m * n, 1] : byColumns ? [n, m] : [m, n];
  const count = Math.floor(o.density * items);
  if (count === 0) return undefined;
  const table = (x: Tensor) => (byColumns ? transpose(x) : reshape(x, [items, width]));
  return {
    state: { index: { shape: [count], dtype: 'int32' } },
    shape: [count, width],
    whole: count === items,
    down: (g, { index }) => gather(table(g), cast(index, 'int64')),
    up(part, { index }) {
      const full = scatterRows(part, cast(index, 'int64'), [items, width]);
      return byColumns ? transpose(full) : reshape(full, [m, n]);
    },
    prepare({ step, state, random }) {
      if ((step - 1) % o.gap !== 0) return;
      const drawn = random(`split/${step}`).cursor().permutation(items).subarray(0, count);
      (state.index.data as Int32Array).set(drawn);
    },
  };
}

/** A subspace of the gradient's rows or columns: its largest singular directions, random ones, or random axes. */
function subspaceSplit(parameter: ParameterInfo, o: SplitOptions): Split | undefined {
  const side = sideLength(parameter, o.projection);
  const rank = Math.round(o.density * side);
  if (rank === 0) return undefined;
  const { gap } = o;
  const own = { rank, gap, scale: 1, projection: o.projection, decomposition: 'exact' } as const;
  const space = projection('frugal', parameter, own);
  return {
    ...space,
    whole: rank === side,
    prepare: o.split === 'svd' ? space.prepare : (inputs) => drawBases(inputs, o),
  };
}

/** Length of the side that is projected. */
function sideLength({ shape, layer }: ParameterInfo, kind: SplitOptions['projection']): number {
  if (kind === 'std' || kind === 'full') return Math.min(...shape);
  if (kind === 'reverse_std') return Math.max(...shape);
  return shape[(kind === 'right') !== (layer?.transposed ?? false) ? 1 : 0];
}

function drawBases({ step, state, random }: PrepareInputs, { split, gap }: SplitOptions): void {
  if ((step - 1) % gap !== 0) return;
  for (const side of ['left', 'right'] as const) {
    const basis = state[side];
    if (!basis) continue;
    const [length, rank] = side === 'left' ? basis.shape : [basis.shape[1], basis.shape[0]];
    const data = new Float32Array(length * rank);
    const source = random(`split/${side}/${step}`);
    if (split === 'random') source.fillNormal(data);
    else
      source
        .cursor()
        .permutation(length)
        .subarray(0, rank)
        .forEach((axis, i) => {
          data[axis * rank + i] = 1;
        });
    const drawn = matrix(length, rank, data);
    const columns = split === 'random' ? qr(drawn).q : drawn;
    (basis.data as Float32Array).set((side === 'left' ? columns : turned(columns)).data);
  }
}
