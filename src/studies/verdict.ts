import type { MethodSummary, StudyResult, StudyRun } from './results.ts';

type Partial = Omit<StudyResult, 'verdict' | 'caveats'>;

/** In words: what to use, at what cost, how sure. A winner is named only where the data carry it. */
export function verdictOf(result: Partial): StudyResult['verdict'] {
  const decided = decisive(result.methods);
  const best = decided.filter((m) => m.amongBest);
  const [first] = decided;
  const finished = result.progress.done >= result.progress.total;
  if (!first)
    return {
      headline: finished ? 'No method got through all its seeds.' : 'No method has finished yet.',
      details: [],
    };
  const so = finished ? '' : ' so far';
  if (result.seeds.length < 2)
    return {
      headline: `${first.label} has the best ${result.metric.name}${so}; one seed cannot tell whether that is chance.`,
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
  const cheapest = cheapestOf(best, result);
  const names = best.map((m) => m.label);
  return {
    headline: `${best.length} of ${decided.length} methods cannot be told from the best${so}: ${listed(names)}.`,
    details: [
      costOf(first, result),
      ...(cheapest && cheapest !== first
        ? [`Of these, ${cheapest.label} costs least: ${costs(cheapest, result)}.`]
        : []),
    ],
  };
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

/** The method that an export of the study takes: the winner, else the cheapest of those that cannot be told from it. */
export function recommended(result: Pick<StudyResult, 'methods'> & Partial): MethodSummary | undefined {
  const decided = decisive(result.methods);
  const best = decided.filter((m) => m.amongBest);
  return best.length > 1 ? cheapestOf(best, result) : decided[0];
}

function cheapestOf(methods: readonly MethodSummary[], { budget }: Partial): MethodSummary | undefined {
  const cost = (m: MethodSummary) =>
    ('memory' in budget ? m.peakMemory : m.seconds) ?? Number.POSITIVE_INFINITY;
  return [...methods].sort((a, b) => cost(a) - cost(b))[0];
}

function costOf(method: MethodSummary, result: Partial): string {
  return `${method.label}: ${result.metric.name} ${score(method, result)}; ${costs(method, result)}.`;
}

function score({ mean, interval }: MethodSummary, { metric }: Partial): string {
  const show = (x: number) => (metric.name === 'loss' ? x.toFixed(3) : `${(100 * x).toFixed(1)} %`);
  const range = interval ? ` (95 %: ${show(interval[0])} to ${show(interval[1])})` : '';
  return `${show(mean!)}${range}`;
}

function costs({ trainable, peakMemory, seconds, size }: MethodSummary, _result: Partial): string {
  const parts = [
    trainable === undefined ? [] : `${Math.round(trainable).toLocaleString('en')} trained numbers`,
    peakMemory === undefined ? [] : `${Math.round(peakMemory / 1e6)} MB at the peak`,
    seconds === undefined ? [] : `${seconds.toFixed(seconds < 10 ? 1 : 0)} s a run`,
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

/** What is not claimed, and why. */
export function caveatsOf(result: Partial, runs: readonly StudyRun[]): string[] {
  const caveats: string[] = [];
  const { seeds, methods, progress } = result;
  if (progress.done < progress.total)
    caveats.push(`${progress.total - progress.done} of ${progress.total} runs are still to come.`);
  if (seeds.length < 2) caveats.push('One seed: no interval over seeds, no test, no winner is claimed.');
  else if (seeds.length < 3)
    caveats.push('Two seeds: the spread over seeds is hardly known; small differences may be chance.');
  const failed = methods.filter((m) => m.failed > 0);
  if (failed.length > 0)
    caveats.push(
      `${listed([...new Set(failed.map((m) => m.label))])} failed on at least one seed and ${failed.length === 1 ? 'is' : 'are'} not compared.`,
    );
  const left = result.plan.filter((row) => !row.fits);
  if (left.length > 0) caveats.push(`Not within the budget: ${left.map((r) => r.label).join(', ')}.`);
  const examples = runs.find((r) => r.scores)?.scores?.[0].examples.length;
  if (examples !== undefined && examples < 100)
    caveats.push(`Only ${examples} test examples: intervals are wide for that reason alone.`);
  return caveats;
}
