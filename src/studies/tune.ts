import type { Planned } from './budget.ts';
import { runRecipe, type Settings } from './methods.ts';
import { doRun } from './one-run.ts';
import type { StudyRun } from './results.ts';
import type { Study } from './study.ts';
import type { StudyParts } from './study-parts.ts';
import { rungs } from './tuning.ts';
import { validationSign } from './validation.ts';

/** The trial with the best validation value; the default settings compete too. */
export async function tune(
  parts: StudyParts,
  plan: Planned,
  trials: readonly Settings[],
  seed: number,
): Promise<Settings | undefined> {
  const signed = ({ key, validation }: StudyRun) => validationSign(parts.curves.get(key)) * validation!;
  let field = trials.map((t) => ({ ...plan.settings, ...t }) as Settings);
  let best: { settings: Settings; value: number }[] = [];
  for (const { keep, share } of rungs(parts.study)) {
    const results: typeof best = [];
    for (const settings of field.slice(0, keep)) {
      if (parts.host.signal.aborted) return undefined;
      const steps = stepsOf(parts.study, plan, settings);
      const short =
        share < 1 && steps !== undefined
          ? { ...settings, steps: Math.max(1, Math.round(steps * share)) }
          : settings;
      const run = await doRun(parts, plan, short, 'trial', seed);
      if (run.validation !== undefined) results.push({ settings, value: signed(run) });
    }
    best = results.sort((a, b) => a.value - b.value);
    field = best.map((b) => b.settings);
  }
  const standard = await doRun(parts, plan, plan.settings, 'default', seed);
  if (standard.validation !== undefined)
    best = [...best, { settings: plan.settings, value: signed(standard) }].sort((a, b) => a.value - b.value);
  return best[0]?.settings;
}

function stepsOf(study: Study, plan: Planned, settings: Settings): number | undefined {
  return runRecipe(study, plan.method, settings, { seed: study.seeds[0], output: study.output }).steps;
}
