import { finishedRuns, metricName, treatmentName } from './naming.ts';
import { perplexityOf } from './perplexity.ts';
import type { MethodSummary, StudyResult } from './results.ts';

type Partial = Omit<StudyResult, 'verdict' | 'caveats'>;

/** In words: what to use, at what cost, how sure. A winner is named only where the data carry it. */
export function verdictOf(result: Partial): StudyResult['verdict'] {
  const smallPrint = replayedWords(result);
  return { ...judgement(result), ...(smallPrint === undefined ? {} : { smallPrint }) };
}

function judgement(result: Partial): StudyResult['verdict'] {
  const decided = decisive(result.methods);
  const best = decided.filter((m) => m.amongBest);
  const [first] = decided;
  const finished = isFinished(result);
  if (!first)
    return {
      headline: finished ? 'No method got through all its seeds.' : 'No method has finished yet.',
      details: [],
    };
  const so = finished ? '' : ' so far';
  if (result.seeds.length < 2)
    return {
      headline: `${first.label} has the best ${metricName(result.metric)}${so}; one seed cannot tell whether that is chance.`,
      details: [costOf(first, result)],
    };
  if (decided.length < 2)
    return {
      headline: `${finished ? 'Only' : 'So far only'} ${first.label} got through all its seeds: there is nothing to compare it with.`,
      details: [costOf(first, result)],
    };
  if (best.length === 1)
    return {
      headline: `Use ${first.label}: it is better than every other method${so}.`,
      details: [costOf(first, result), ...runnerUp(decided, result)],
      ...(finished ? { winner: first.method } : {}),
    };
  return undecided(decided, best, result);
}

/** Several methods that the data cannot tell from the best: which they are, and which of them to take. */
function undecided(
  decided: readonly MethodSummary[],
  best: readonly MethodSummary[],
  result: Partial,
): StudyResult['verdict'] {
  const [first] = decided;
  const chosen = choice(inFront(decided), result) ?? first;
  const so = isFinished(result) ? '' : ' so far';
  return {
    headline: `No clear winner${so} among ${listed(best.map((m) => m.label))}: ${chosen.label} ${reason(chosen, decided, best, result)}.`,
    details: [
      `${best.length} of ${decided.length} methods cannot be told from the best with these seeds and test rows.`,
      costOf(first, result),
      ...(chosen === first ? [] : [costOf(chosen, result)]),
    ],
  };
}

function reason(
  chosen: MethodSummary,
  decided: readonly MethodSummary[],
  best: readonly MethodSummary[],
  { budget }: Partial,
): string {
  const front = inFront(decided);
  const cost = 'memory' in budget ? 'memory' : 'time';
  if (front.length === 1) return 'has the best mean';
  if (chosen === decided[0]) return `has the best mean, and none takes much less ${cost}`;
  return `takes the least ${cost}${front.length === best.length ? '' : ` of the first ${front.length}`}`;
}

/**
 * Those among the best that no method which is told from the best has a better mean than. Scores that vary much over
 * seeds keep a method among the best, whatever its mean: that does not recommend it.
 */
function inFront(decided: readonly MethodSummary[]): readonly MethodSummary[] {
  const end = firstToldApart(decided);
  return decided.slice(0, end < 0 ? undefined : end).filter((m) => m.amongBest);
}

function firstToldApart(decided: readonly MethodSummary[]): number {
  return decided.findIndex((m) => !m.amongBest && m.interval !== undefined);
}

function isFinished({ progress }: Partial): boolean {
  return progress.done >= progress.total;
}

/**
 * Tuned where there was tuning: that is how a method would be used. One that failed on a seed is not compared: its mean
 * over the seeds that it survived flatters it.
 */
function decisive(methods: readonly MethodSummary[]): MethodSummary[] {
  const tuned = methods.filter((m) => m.treatment === 'tuned');
  return (tuned.length > 0 ? tuned : methods.filter((m) => m.treatment === 'default')).filter(
    (m) => m.mean !== undefined && m.failed === 0,
  );
}

/** The method that an export of the study takes: the winner, else one of those in front. */
export function recommended(result: Pick<StudyResult, 'methods'> & Partial): MethodSummary | undefined {
  const decided = decisive(result.methods);
  return decided.some((m) => m.amongBest) ? choice(inFront(decided), result) : decided[0];
}

/** Share of the best one's cost from which on another is worth a mean that is not as good. */
const CHEAPER = 0.9;

/** Of those in front the cheapest; the best in the mean where none is much cheaper. */
function choice(front: readonly MethodSummary[], { budget }: Partial): MethodSummary | undefined {
  const cost = (m: MethodSummary) =>
    ('memory' in budget ? m.peakMemory : m.seconds) ?? Number.POSITIVE_INFINITY;
  const [first] = front;
  const [cheapest] = [...front].sort((a, b) => cost(a) - cost(b));
  return cheapest && cost(cheapest) <= CHEAPER * cost(first) ? cheapest : first;
}

function costOf(method: MethodSummary, result: Partial): string {
  return `${method.label}: ${metricName(result.metric)} ${score(method, result)}; ${costs(method, result)}.`;
}

function score({ mean, interval }: MethodSummary, result: Partial): string {
  const show = (x: number) => (result.metric.name === 'loss' ? x.toFixed(3) : `${(100 * x).toFixed(1)} %`);
  const perplexity = perplexityOf(result);
  const notes = [
    ...(interval ? [`95 % interval: ${show(interval[0])} to ${show(interval[1])}`] : []),
    ...(perplexity ? [`perplexity ${perplexity(mean!)}`] : []),
  ];
  return notes.length > 0 ? `${show(mean!)} (${notes.join('; ')})` : show(mean!);
}

function costs({ trainable, peakMemory, seconds, size }: MethodSummary, _result: Partial): string {
  const parts = [
    trainable === undefined ? [] : `${Math.round(trainable).toLocaleString('en')} trained numbers`,
    peakMemory === undefined ? [] : `${Math.round(peakMemory / 1e6)} MB at the peak`,
    seconds === undefined ? [] : `${seconds.toFixed(seconds < 10 ? 1 : 0)} s of computing a run`,
    size === undefined ? [] : `${(size / 1e6).toFixed(2)} MB on disk`,
  ];
  return parts.flat().join(', ');
}

function runnerUp([, second]: readonly MethodSummary[], result: Partial): string[] {
  return second ? [`Next: ${costOf(second, result)}`] : [];
}

function listed(names: readonly string[]): string {
  if (names.length > 6) return `${names.slice(0, 5).join(', ')} and ${names.length - 5} more`;
  return names.length < 2 ? names.join('') : `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`;
}

/** How many rows were repeated, and what came of it; undefined where none was. */
function replayedWords(result: Partial): string | undefined {
  const { replays = [] } = result;
  if (replays.length === 0) return undefined;
  const rows = finishedRuns(result).length;
  const left = rows - replays.length;
  const parts = [
    `Replayed: same bytes, ${replays.length - differing(result).length} of ${rows} rows`,
    ...(differing(result).length > 0 ? [`other bytes: ${listed(differing(result))}`] : []),
    ...(left > 0 ? [`not replayed: ${left}`] : []),
  ];
  return `${parts.join('; ')}.`;
}

function differing({ replays = [] }: Partial): string[] {
  return replays.filter((r) => !r.same).map((r) => r.row);
}

/** What is not claimed, and why. */
export function caveatsOf(result: Partial): string[] {
  const caveats: string[] = [];
  const { seeds, methods, progress } = result;
  if (progress.done < progress.total)
    caveats.push(`${progress.total - progress.done} of ${progress.total} runs are still to come.`);
  if (seeds.length < 2) caveats.push('One seed: no interval over seeds, no test, no winner is claimed.');
  else if (seeds.length < 3)
    caveats.push('Two seeds: the spread over seeds is hardly known; small differences may be chance.');
  const failed = methods.filter((m) => m.failed > 0);
  const isBoth = new Set(methods.map((m) => m.treatment)).size > 1;
  if (failed.length > 0)
    caveats.push(
      `${listed(failed.map((m) => (isBoth ? treatmentName(m) : m.label)))} failed on at least one seed and ${failed.length === 1 ? 'is' : 'are'} not compared.`,
    );
  caveats.push(...uncertain(decisive(methods)));
  const left = result.plan.filter((row) => !row.fits);
  if (left.length > 0) caveats.push(`Not within the budget: ${left.map((r) => r.label).join(', ')}.`);
  const examples = result.test?.rows ?? Number.POSITIVE_INFINITY;
  if (examples < 100)
    caveats.push(`Only ${examples} test examples: intervals are wide for that reason alone.`);
  const other = differing(result);
  if (other.length > 0)
    caveats.push(
      `${listed(other)} gave other bytes when replayed: the same recipe need not give this again.`,
    );
  return caveats;
}

/** Methods that stay among the best although one with a better mean does not. */
function uncertain(decided: readonly MethodSummary[]): string[] {
  const end = firstToldApart(decided);
  const behind = decided.slice(end).filter((m) => m.amongBest);
  if (end < 0 || behind.length === 0) return [];
  return [
    `${listed(behind.map((m) => m.label))} cannot be told from the best because scores vary much over seeds: ${decided[end].label} has a better mean and is told apart.`,
  ];
}
