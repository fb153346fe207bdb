import { availableParallelism, cpus } from 'node:os';
import { mayBeBest } from './best-set.ts';
import { treatmentName } from './naming.ts';
import type { Comparison, Curve, MethodSummary, StudyResult, StudyRun } from './results.ts';
import type { StudyState } from './run-study.ts';
import { bootstrapMeans, deviation, holm, mean, percentileInterval, type Sample } from './statistics.ts';
import { interval95, paired, pOfZero, twoLevel } from './two-level.ts';
import { caveatsOf, verdictOf } from './verdict.ts';

const DRAWS = 4000;
const SIGNIFICANT = 0.05;

/** What a study says so far, from its runs. */
export function buildResult(state: StudyState): StudyResult {
  const { study, planned, runs, total } = state;
  const direction = study.metric === 'loss' ? 'min' : 'max';
  const summaries = planned
    .filter((p) => p.row.fits)
    .flatMap(({ method, row }) =>
      (['default', 'tuned'] as const).flatMap((treatment): MethodSummary[] => {
        // In the order of the study: which run ends first must not change what is resampled.
        const own = runs
          .filter((r) => r.method === method.id && r.purpose === treatment)
          .sort((a, b) => study.seeds.indexOf(a.seed) - study.seeds.indexOf(b.seed));
        if (own.length === 0) return [];
        const settings = treatment === 'tuned' ? (state.tuned.get(method.id) ?? {}) : {};
        return [{ ...summarize(own), method: method.id, label: row.label, treatment, settings }];
      }),
    );
  const { methods, comparisons } = compare(summaries, direction);
  const ended = runs.filter((r) => r.state !== 'running' && r.state !== 'waiting' && r.state !== 'stopped');
  const partial = {
    name: study.name,
    question: study.question,
    folder: study.output,
    metric: { name: study.metric, direction },
    test: testOf(runs),
    budget: Object.fromEntries(Object.entries(study.budget ?? {}).filter(([, v]) => v !== undefined)),
    seeds: study.seeds,
    plan: planned.map((p) => p.row),
    progress: { done: ended.length, total },
    methods,
    comparisons,
    baseline: state.base?.scores[0]?.mean,
    curves: curvesOf(runs, state.curves),
    hardware: `${cpus()[0]?.model ?? 'unknown'}, ${availableParallelism()} cores`,
  } as const;
  return { ...partial, verdict: verdictOf(partial), caveats: caveatsOf(partial) };
}

/**
 * A result with its intervals, comparisons and words worked out again from its runs; as it is where it no longer holds
 * their scores by example.
 */
export function judgedAgain(result: StudyResult): StudyResult {
  const scored = result.methods.flatMap(scoredRuns);
  if (scored.some((r) => r.scores![0].examples === undefined)) return result;
  const summaries = result.methods.map((m) => ({ ...m, ...summarize(m.runs) }));
  const judged = { ...result, ...compare(summaries, result.metric.direction) };
  return { ...judged, verdict: verdictOf(judged), caveats: caveatsOf(judged) };
}

/** What the scored runs were judged on; undefined where their examples are not known. */
export function testOf(runs: readonly StudyRun[]): StudyResult['test'] {
  const { scores = [] } = runs.find((r) => r.scores?.[0].examples !== undefined) ?? {};
  if (scores.length === 0) return undefined;
  const texts = scores.some((s) => s.weights?.some((targets) => targets > 1));
  return { rows: scores[0].examples.length, texts };
}

type Summary = Omit<MethodSummary, 'method' | 'label' | 'treatment' | 'settings'>;

function summarize(runs: readonly StudyRun[]): Summary {
  const scored = runs.filter((r) => r.scores !== undefined);
  const means = scored.map((r) => r.scores![0].mean);
  const average = (pick: (run: StudyRun) => number | undefined) => {
    const values = runs.map(pick).filter((x) => x !== undefined);
    return values.length > 0 ? mean(values) : undefined;
  };
  return {
    runs,
    failed: runs.filter((r) => ['failed', 'diverged', 'out-of-memory'].includes(r.state)).length,
    mean: means.length > 0 ? mean(means) : undefined,
    spread: means.length > 1 ? deviation(means) : undefined,
    forgetting: average((r) => r.forgetting && r.forgetting.after - r.forgetting.before),
    trainable: average((r) => r.trainable),
    peakMemory: average((r) => r.measured?.peakMemory),
    predictedMemory: average((r) => r.predictedMemory),
    seconds: average(({ measured, recipe }) =>
      (recipe.device ?? 'cpu') === 'cpu' ? measured?.processor : measured?.wall,
    ),
    size: average((r) => r.size),
    amongBest: false,
  };
}

/**
 * Intervals, and comparisons within each treatment: defaults with defaults, tuned with tuned, every pair on the same
 * examples. Best first, tuned before default where both are.
 */
function compare(
  summaries: readonly MethodSummary[],
  direction: 'min' | 'max',
): { methods: MethodSummary[]; comparisons: Comparison[] } {
  const sign = direction === 'max' ? 1 : -1;
  const order = (a: MethodSummary, b: MethodSummary) =>
    sign * ((b.mean ?? -sign * Number.MAX_VALUE) - (a.mean ?? -sign * Number.MAX_VALUE));
  const methods: MethodSummary[] = [];
  const comparisons: Comparison[] = [];
  for (const treatment of ['tuned', 'default'] as const) {
    const sorted = summaries.filter((m) => m.treatment === treatment).sort(order);
    const judged = sorted.filter(isJudged);
    const own = pairs(judged);
    comparisons.push(...own);
    const resampled = bootstrapMeans(
      judged.map((m) => sampleOf(scoredRuns(m))),
      DRAWS,
      0,
    );
    for (const summary of sorted) {
      const i = judged.indexOf(summary);
      if (i < 0) methods.push(summary);
      else
        methods.push({
          ...summary,
          interval: percentileInterval(resampled[i]),
          amongBest: mayBeBest(treatmentName(summary), own, direction, SIGNIFICANT),
        });
    }
  }
  return { methods, comparisons };
}

/** With one seed nothing is known of the spread over seeds: no interval, no comparison. */
function isJudged(summary: MethodSummary): boolean {
  return summary.failed === 0 && scoredRuns(summary).length >= 2;
}

/** Every pair on the same examples, over the seeds that both have. */
function pairs(judged: readonly MethodSummary[]): Comparison[] {
  const raw: Omit<Comparison, 'corrected'>[] = [];
  for (let i = 0; i < judged.length; i++)
    for (let j = i + 1; j < judged.length; j++) {
      const [a, b] = sharedSeeds(judged[i], judged[j]);
      if (a.seeds.length < 2) continue;
      const difference = twoLevel(paired(a, b));
      raw.push({
        a: treatmentName(judged[i]),
        b: treatmentName(judged[j]),
        difference: difference.mean,
        interval: interval95(difference),
        p: pOfZero(difference),
      });
    }
  const corrected = holm(raw.map((c) => c.p));
  return raw.map((c, i) => ({ ...c, corrected: corrected[i] }));
}

function sharedSeeds(a: MethodSummary, b: MethodSummary): [Sample, Sample] {
  const [ofA, ofB] = [scoredRuns(a), scoredRuns(b)];
  const seeds = ofA.map((r) => r.seed).filter((seed) => ofB.some((r) => r.seed === seed));
  const pick = (runs: readonly StudyRun[]) =>
    sampleOf(seeds.map((seed) => runs.find((r) => r.seed === seed)!));
  return [pick(ofA), pick(ofB)];
}

function scoredRuns({ runs }: MethodSummary): StudyRun[] {
  return runs.filter((r) => r.scores !== undefined);
}

function sampleOf(runs: readonly StudyRun[]): Sample {
  const scores = runs.map((r) => r.scores![0]);
  return { seeds: scores.map((s) => s.examples), weights: scores[0]?.weights };
}

function curvesOf(
  runs: readonly StudyRun[],
  curves: ReadonlyMap<string, readonly Curve[]>,
): Record<string, readonly Curve[]> {
  const judged = runs.filter((r) => r.purpose !== 'trial' && curves.has(r.key));
  return Object.fromEntries(judged.map((r) => [r.key, curves.get(r.key)!.map(thinned)]));
}

const POINTS = 120;

/** Enough points to draw. */
function thinned({ name, steps, values }: Curve): Curve {
  if (steps.length <= POINTS) return { name, steps, values };
  const chosen = Array.from({ length: POINTS }, (_, i) =>
    Math.round((i * (steps.length - 1)) / (POINTS - 1)),
  );
  return { name, steps: chosen.map((i) => steps[i]), values: chosen.map((i) => values[i]) };
}
