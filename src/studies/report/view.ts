import { metricName, rowName, treatmentName } from '../naming.ts';
import { type Perplexity, perplexityOf } from '../perplexity.ts';
import type { Curve, MethodSummary, ReplayRecord, StudyResult, StudyRun } from '../results.ts';
import { recommended } from '../verdict.ts';
import { bytes, count, range, score, seconds } from './format.ts';

/** One method under one treatment, as all parts of the page show it. */
export interface Entry {
  readonly summary: MethodSummary;
  /** Unique in the page; part of element ids. */
  readonly id: string;
  /** As comparisons call it. */
  readonly name: string;
  /** Of the treatment that decides: tuned where there was tuning. */
  readonly decides: boolean;
  readonly recommended: boolean;
}

/** What the report calls the method that the verdict is about: nothing is claimed where nothing was compared. */
export function distinction({ result }: View): string {
  return result.comparisons.length > 0 ? 'recommended' : 'best measured';
}

/** A study's result with what several parts of the page need. */
export interface View {
  readonly result: StudyResult;
  readonly entries: readonly Entry[];
  /** Whether both treatments are there. */
  readonly both: boolean;
  readonly decisive: MethodSummary['treatment'];
  curves(run: StudyRun): readonly Curve[];
  /** How losses are also written; undefined where there is no such thing. */
  readonly perplexity?: Perplexity;
  /** What came of repeating a run; undefined where it was not repeated. */
  replay(run: StudyRun): ReplayRecord | undefined;
}

export function viewOf(result: StudyResult): View {
  const treatments = new Set(result.methods.map((m) => m.treatment));
  const decisive = treatments.has('tuned') ? 'tuned' : 'default';
  const best = recommended(result);
  const entries = result.methods.map((summary): Entry => {
    return {
      summary,
      id: `${summary.method}-${summary.treatment}`.replace(/[^\w-]+/g, '_'),
      name: treatmentName(summary),
      decides: summary.treatment === decisive,
      recommended: summary.method === best?.method && summary.treatment === best.treatment,
    };
  });
  const curves = (run: StudyRun) => result.curves[run.key] ?? [];
  const replay = (run: StudyRun) => result.replays?.find((r) => r.row === rowName(run));
  return {
    ...{ result, entries, both: treatments.size > 1, decisive, curves, replay },
    perplexity: perplexityOf(result),
  };
}

/** Everything that is known of an entry, for tooltips and readers of screens. */
export function factsOf({ summary }: Entry, { result: { metric, seeds }, perplexity }: View): string[] {
  const { mean, interval, trainable, peakMemory, predictedMemory } = summary;
  const done = summary.runs.filter((r) => r.scores !== undefined).length;
  return [
    mean === undefined ? 'no score' : `${metricName(metric)} ${score(mean, metric)}`,
    mean === undefined || !perplexity ? '' : `perplexity ${perplexity(mean)}`,
    interval === undefined ? '' : `95 % interval ${range(interval, metric)}`,
    trainable === undefined ? '' : `${count(trainable)} trained numbers`,
    peakMemory === undefined ? '' : `${bytes(peakMemory)} at the peak`,
    predictedMemory === undefined ? '' : `${bytes(predictedMemory)} predicted`,
    summary.seconds === undefined ? '' : `${seconds(summary.seconds)} of computing a run`,
    `${done} of ${seeds.length} ${seeds.length === 1 ? 'seed' : 'seeds'} scored`,
  ].filter((line) => line !== '');
}

/** What a row says of seeds that ended badly: `2 diverged, 1 out of memory`; undefined where none did. */
export function failures({ runs }: MethodSummary): string | undefined {
  const counts = new Map<string, number>();
  for (const { state } of runs)
    if (state === 'failed' || state === 'diverged' || state === 'out-of-memory')
      counts.set(state, (counts.get(state) ?? 0) + 1);
  const parts = [...counts].map(([state, n]) => `${n} ${state.replaceAll('-', ' ')}`);
  return parts.length > 0 ? parts.join(', ') : undefined;
}

/** Whether a is better than b under the study's metric. */
export function isBetter(a: number, b: number, { metric }: StudyResult): boolean {
  return metric.direction === 'max' ? a > b : a < b;
}
