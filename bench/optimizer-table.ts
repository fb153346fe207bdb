import { median } from './median.ts';
import type { OptimizerRecord, Round, Timed } from './optimizer-records.ts';
import type { OptimizerRow } from './optimizer-rows.ts';

const COLUMNS = [
  'method',
  'ordinary, ms',
  'refresh, ms',
  'refreshes in 200',
  'amortized, ms',
  'beside',
  '× its time',
  'PyTorch, ms',
  '× its time',
  'peak, MB',
  'predicted, MB',
  '× peak beside',
  'PyTorch, MB',
  '× its peak',
  'state, MB',
  'predicted, MB',
];

export const HEADER = `| ${COLUMNS.join(' | ')} |\n| ${COLUMNS.map(() => '---').join(' | ')} |`;

/** A row of the model by its name, and what was measured of it. */
export type RecordOf = (name: string) => { row: OptimizerRow; record?: OptimizerRecord };

/** Updates of a run of 200 that have a refresh, the first included. */
const COUNTED = 200;

/** Milliseconds of an update, and what each kind of refresh adds to it. */
interface Cost {
  readonly ordinary: number;
  readonly refreshes: readonly number[];
}

function costOf(timed: readonly Timed[]): Cost {
  const ordinary = median(timed.flatMap((t) => t.ordinary));
  const kinds = timed[0].refreshed.map((_, i) => median(timed.map((t) => t.refreshed[i])));
  return { ordinary, refreshes: kinds.map((ms) => ms - ordinary) };
}

/** Refreshes spread over the updates until the next; a rarer kind takes the place of a more frequent one. */
function amortized({ ordinary, refreshes }: Cost, kinds: OptimizerRow['refreshes']): number {
  const share = (i: number) => 1 / kinds[i].every - (kinds[i + 1] ? 1 / kinds[i + 1].every : 0);
  return refreshes.reduce((sum, ms, i) => sum + ms * share(i), ordinary);
}

/** Updates among the first 200 that have a refresh of a kind. */
function countRefreshes({ every, first }: OptimizerRow['refreshes'][number]): number {
  return Math.floor((COUNTED - 1) / every) + (first ? 1 : 0);
}

/** Ours with its refreshes, taken from another row where that does the same work. */
function ownCost(row: OptimizerRow, record: OptimizerRecord, recordOf: RecordOf) {
  const cost = costOf(record.rounds.map((r) => r.ours));
  if (!row.refreshOf) return { cost, kinds: row.refreshes };
  const other = recordOf(row.refreshOf);
  if (!other.record) return undefined;
  const { refreshes } = costOf(other.record.rounds.map((r) => r.ours));
  return { cost: { ...cost, refreshes }, kinds: other.row.refreshes };
}

/** PyTorch's update with its refreshes in milliseconds, and its peak in bytes. */
function pytorchOf(row: OptimizerRow, recordOf: RecordOf) {
  const { row: source, record } = recordOf(row.pytorchOf ?? row.name);
  const timed = (record?.rounds ?? []).map((r) => r.pytorch).filter((t) => t !== undefined);
  if (timed.length === 0) return undefined;
  return { ms: amortized(costOf(timed), source.refreshes), peak: peakOf(timed) };
}

function peakOf(timed: readonly Pick<Timed, 'peak'>[]): number | undefined {
  const peaks = timed.map((t) => t.peak).filter((p) => p !== undefined);
  return peaks.length > 0 ? median(peaks) : undefined;
}

const number = (value: number | undefined, digits = 0) => (value === undefined ? '–' : value.toFixed(digits));
const megabytes = (bytes: number | undefined, digits = 0) =>
  number(bytes === undefined ? bytes : bytes / 1e6, digits);
const ratio = (a: number | undefined, b: number | undefined) =>
  a === undefined || b === undefined ? '–' : (a / b).toFixed(2);

/** The row as a line of the table: medians over its rounds; what was not measured is a dash. */
export function optimizerLine(row: OptimizerRow, recordOf: RecordOf): string {
  const record = recordOf(row.name).record!;
  const { rounds, predicted, state } = record;
  const of = <K extends keyof Round>(key: K) => rounds.map((r) => r[key]);
  const own = ownCost(row, record, recordOf);
  const ms = own && amortized(own.cost, own.kinds);
  const peak = peakOf(of('ours'));
  const pytorch = pytorchOf(row, recordOf);
  const refresh = own?.cost.refreshes.map((cost) => number(cost)).join(' / ') ?? '–';
  const cells = [
    row.name,
    number(costOf(of('ours')).ordinary),
    row.refreshOf ? `${refresh} (${row.refreshOf})` : refresh,
    own?.kinds.map(countRefreshes).join(' / ') ?? '–',
    number(ms),
    row.beside,
    ratio(ms, median(of('beside').flatMap((b) => b.ordinary))),
    number(pytorch?.ms),
    ratio(ms, pytorch?.ms),
    megabytes(peak),
    megabytes(predicted.peak),
    ratio(peak, peakOf(of('beside'))),
    megabytes(pytorch?.peak),
    ratio(peak, pytorch?.peak),
    megabytes(state, 1),
    megabytes(predicted.state, 1),
  ];
  return `| ${cells.join(' | ')} |`;
}
