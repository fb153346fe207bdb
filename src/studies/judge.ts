import { RankineError } from '../errors.ts';
import { withClassesOfImages } from '../training/index.ts';
import type { Planned } from './budget.ts';
import { canonical, hashText } from './key.ts';
import { runRecipe } from './methods.ts';
import { runProcess } from './process.ts';
import type { StudyRun } from './results.ts';
import type { Scored, ScoreTask } from './score.ts';
import type { Study } from './study.ts';
import type { StudyParts } from './study-parts.ts';

/** What a study judges its runs by. */
export function judging({ metric, metrics, test, general }: Study): ScoreTask {
  return { test, metrics: [...new Set([metric, ...metrics])], general };
}

/** Scores of the untrained base: undefined for models that start at random. */
export async function baseScores({ study, store, hasher, judged, host }: StudyParts, first: Planned) {
  const recipe = runRecipe(study, first.method, first.settings, {
    seed: study.seeds[0],
    output: study.output,
  });
  const { init, labels } = (await withClassesOfImages(recipe)).model;
  // A head that is drawn afresh knows nothing before training.
  if (init === 'random' || labels !== undefined || host.signal.aborted) return undefined;
  // How rows are read changes what they score, not which rows are trained on.
  const { train: _train, validation: _validation, holdOut: _holdOut, ...reading } = recipe.data;
  const key = hashText(canonical(['base', await hasher.model(recipe.model), recipe.model, reading]));
  const judgedBy = await judgedHash(judged, hasher);
  const known = await store.scores(key, judgedBy);
  if (known) return known;
  const outcome = await runProcess<Scored>({ kind: 'score-base', recipe, task: judged });
  if (outcome.kind !== 'done')
    throw new RankineError('studies/base', `The base model cannot be scored: ${outcome.reason}`);
  await store.saveScores(key, judgedBy, outcome.value);
  return outcome.value;
}

export async function judgedHash(judged: ScoreTask, hasher: StudyParts['hasher']): Promise<string> {
  return hashText(canonical([judged, await hasher.data(judged.test, judged.general)]));
}

/** Scores of a trained run; where scoring itself fails, that is the run's end. */
export async function scoreOne(
  { store, judged, hasher, base }: StudyParts,
  run: StudyRun,
): Promise<StudyRun> {
  const judgedBy = await judgedHash(judged, hasher);
  const known = await store.scores(run.key, judgedBy);
  const scored = known ?? (await scoreInProcess(run, judged));
  if ('kind' in scored) return { ...run, state: 'failed', reason: scored.reason };
  if (!known) await store.saveScores(run.key, judgedBy, scored);
  const { scores, weightsHash, general } = scored;
  const before = base()?.general;
  const forgetting = general === undefined || before === undefined ? undefined : { before, after: general };
  return { ...run, scores, weightsHash, forgetting };
}

async function scoreInProcess(run: StudyRun, task: ScoreTask) {
  const outcome = await runProcess<Scored>({ kind: 'score', recipe: run.recipe, task });
  return outcome.kind === 'done' ? outcome.value : outcome;
}
