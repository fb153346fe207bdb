import { readFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { RankineError } from '../errors.ts';
import { exists } from '../formats/index.ts';
import { rowName } from './naming.ts';
import type { StudyResult, StudyRun } from './results.ts';
import { validationSign } from './validation.ts';
import { recommended } from './verdict.ts';

/** What a study leaves in its folder. */
export const RESULT_FILE = 'result.json';

/**
 * The result in the folder of a study, finished or not.
 *
 * @throws RankineError `studies/no-result`
 */
export async function readResult(folder: string): Promise<StudyResult> {
  const file = join(folder, RESULT_FILE);
  try {
    return JSON.parse(await readFile(file, 'utf8'));
  } catch (cause) {
    throw new RankineError(
      'studies/no-result',
      `${file} is no result of a study (${(cause as Error).message}).`,
      'Give the folder of a study that rankine compare has run.',
      { cause },
    );
  }
}

/**
 * One run of a result, by `method/seed`, `method/tuned/seed` or the beginning of its key. Where a method was also tuned,
 * `method/seed` is the tuned run.
 *
 * @throws RankineError `studies/no-row` naming those there are
 */
export function findRow(result: StudyResult, row: string): StudyRun {
  const rows = result.methods.flatMap((m) => m.runs).filter((r) => r.state === 'done');
  const named = rows.filter((r) => rowName(r) === row || `${r.method}/${r.seed}` === row);
  const keyed = /^[0-9a-f]{6,}$/.test(row) ? rows.filter((r) => r.key.startsWith(row)) : [];
  const found = named.find((r) => r.purpose === 'tuned') ?? named[0] ?? keyed[0];
  if (found) return found;
  throw new RankineError(
    'studies/no-row',
    `The study ${result.name} has no finished run ${JSON.stringify(row)}.`,
    `Rows: ${rows.map(rowName).join(', ') || 'none yet'}.`,
  );
}

/**
 * The run that leaves a study: of the recommended method the seed that was best on validation data. The test data judged
 * the methods; they do not choose among seeds.
 *
 * @throws RankineError `studies/no-row`
 */
export function recommendedRow(result: StudyResult): StudyRun {
  const rows = recommended(result)?.runs.filter((r) => r.state === 'done') ?? [];
  const sign = validationSign(result.curves[rows[0]?.key]);
  const [best] = [...rows].sort((a, b) => sign * ((a.validation ?? 0) - (b.validation ?? 0)));
  if (best) return best;
  throw new RankineError(
    'studies/no-row',
    `The study ${result.name} recommends no method: none got through all its seeds.`,
    'Name a row: --row METHOD/SEED.',
  );
}

/** Folder of a run, also where the study was moved as a whole. */
export async function rowFolder(studyFolder: string, { folder }: StudyRun): Promise<string> {
  const beside = join(studyFolder, 'runs', basename(folder));
  return (await exists(beside)) ? beside : resolve(folder);
}
