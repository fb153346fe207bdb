import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { writeAtomic } from '../formats/index.ts';
import type { TrainEvent, TrainResult } from '../training/index.ts';
import type { Planned } from './budget.ts';
import { runRecipe } from './methods.ts';
import { runProcess } from './process.ts';
import type { StudyParts } from './study-parts.ts';

/** Under a budget of time, updates so many as a first run of a few takes; measured once and kept with the study. */
export async function settlePace(
  parts: StudyParts,
  fitting: readonly Planned[],
): Promise<readonly Planned[]> {
  const { study, host } = parts;
  const seconds = study.budget?.time;
  if (seconds === undefined) return fitting;
  const file = join(study.output, 'pace.json');
  const pace: Record<string, Pace> = JSON.parse(await readFile(file, 'utf8').catch(() => '{}'));
  const paced: Planned[] = [];
  for (const plan of fitting) {
    const id = plan.method.id;
    if (pace[id] === undefined && !host.signal.aborted) {
      const measured = await measurePace(parts, plan);
      if (measured === undefined) continue;
      pace[id] = measured;
      await writeAtomic(file, `${JSON.stringify(pace, null, 2)}\n`);
    }
    const found = pace[id];
    if (found === undefined) continue;
    if ('reason' in found) {
      paced.push({ ...plan, row: { ...plan.row, fits: false, reason: found.reason } });
      continue;
    }
    const steps = Math.max(1, Math.floor(seconds / found.seconds));
    const settings = { ...plan.settings, steps };
    paced.push({ ...plan, settings, row: { ...plan.row, chosen: settings, steps } });
  }
  return paced;
}

/** Seconds of an update, or why there are none. */
type Pace = { readonly seconds: number } | { readonly reason: string };

const PACE_STEPS = 12;

/** The median of the later ones of a short run. */
async function measurePace({ study, host }: StudyParts, plan: Planned): Promise<Pace | undefined> {
  const output = join(study.output, 'runs', `pace-${plan.method.id}`);
  await rm(output, { recursive: true, force: true });
  const settings = { ...plan.settings, steps: PACE_STEPS, evaluateEvery: PACE_STEPS, logEvery: 1 };
  const recipe = runRecipe(study, plan.method, settings, { seed: study.seeds[0], output });
  const times: number[] = [];
  const outcome = await runProcess<TrainResult>(
    { kind: 'train', recipe },
    {
      signal: host.signal,
      onEvent: (e) => (e as TrainEvent).type === 'step' && times.push(performance.now()),
    },
  );
  await rm(output, { recursive: true, force: true });
  if (outcome.kind !== 'done') return { reason: `Its pace cannot be measured: ${outcome.reason}` };
  if (!outcome.value.finished) return undefined;
  const gaps = times
    .slice(3)
    .map((t, i) => t - times[i + 2])
    .sort((a, b) => a - b);
  return { seconds: gaps[Math.floor(gaps.length / 2)] / 1000 };
}
