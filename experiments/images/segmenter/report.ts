import { holm, mean } from '../../../src/studies/statistics.ts';
import { interval95, paired, pOfZero, twoLevel } from '../../../src/studies/two-level.ts';

/** One adapted segmenter. */
export interface Run {
  readonly rate: number;
  readonly seed: number;
  readonly trainable: number;
  /** Mean Dice of the validation sections. */
  readonly valid: number;
  /** Dice of each test section. */
  readonly test: readonly number[];
  /** Processor seconds of training. */
  readonly seconds: number;
}

/** A method at its best rate on validation sections, and at the default one, a run for each seed. */
export interface Row {
  readonly method: string;
  readonly rate: number;
  readonly runs: readonly Run[];
  readonly standard: readonly Run[];
}

export interface Result {
  readonly settings: {
    readonly seeds: readonly number[];
    /** The first is the default. */
    readonly rates: readonly number[];
    readonly batch: number;
    readonly steps: number;
    readonly pieces: number;
  };
  /** Weights of the segmenter. */
  readonly weights: number;
  /** Dice of the base. */
  readonly baseline: { readonly shapes: number; readonly membranes: number };
  readonly rows: readonly Row[];
}

const sample = (runs: readonly Run[]) => ({ seeds: runs.map((r) => r.test) });
const meanOf = (runs: readonly Run[]) => mean(runs.map((r) => mean(r.test)));
const digits = (value: number) => value.toFixed(3);

/** What the runs say, in Markdown: the best method first, paired over seeds and sections, Holm over all pairs. */
export function segmenterReport({ settings, weights, baseline, rows }: Result): string {
  const sorted = [...rows].sort((a, b) => meanOf(b.runs) - meanOf(a.runs));
  const pairs = sorted.flatMap((a, i) => sorted.slice(i + 1).map((b) => ({ a, b, ...difference(a, b) })));
  const corrected = holm(pairs.map((pair) => pair.p));
  const amongBest = (row: Row) =>
    row === sorted[0] || corrected[pairs.findIndex((pair) => pair.a === sorted[0] && pair.b === row)] >= 0.05;
  const [standard] = settings.rates;
  const sections = rows[0].runs[0].test.length;
  return [
    '# Do scaled large and mixed small singular values adapt a segmenter to few images better than low rank?',
    '',
    `A segmenter of ${weights.toLocaleString('en')} weights, trained on drawn shapes (Dice ${digits(baseline.shapes)} of fresh ones), adapted in ${settings.steps} updates to`,
    `${settings.pieces} pieces of tissue; Dice of membranes on ${sections} other sections (${digits(baseline.membranes)} before), ${settings.seeds.length} seeds, rates ${settings.rates.join(', ')}.`,
    '',
    `| method | trained | Dice | 95 % | each seed | rate | Dice at ${standard} | processor seconds |`,
    '| --- | --- | --- | --- | --- | --- | --- | --- |',
    ...sorted.map((row) => line(row, amongBest(row), standard)),
    '',
    'Bold: cannot be told from the best (paired over seeds and sections, Holm over all pairs, 5 %).',
    '',
    '| pair | difference of Dice | 95 % | p, corrected |',
    '| --- | --- | --- | --- |',
    ...pairs.map(
      ({ a, b, mean: middle, interval }, i) =>
        `| ${a.method} − ${b.method} | ${digits(middle)} | ${interval.map(digits).join(' – ')} | ${digits(corrected[i])} |`,
    ),
  ].join('\n');
}

function difference(a: Row, b: Row) {
  const level = twoLevel(paired(sample(a.runs), sample(b.runs)));
  return { mean: level.mean, interval: interval95(level), p: pOfZero(level) };
}

function line({ method, rate, runs, standard }: Row, best: boolean, usual: number): string {
  const cells = [
    best ? `**${method}**` : method,
    runs[0].trainable.toLocaleString('en'),
    digits(meanOf(runs)),
    interval95(twoLevel(sample(runs)))
      .map(digits)
      .join(' – '),
    runs.map((r) => digits(mean(r.test))).join(', '),
    rate === usual ? 'default' : `${rate}`,
    digits(meanOf(standard)),
    mean(runs.map((r) => r.seconds)).toFixed(0),
  ];
  return `| ${cells.join(' | ')} |`;
}
