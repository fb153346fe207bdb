import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { writeAtomic } from '../../formats/index.ts';
import { judgedAgain } from '../build-result.ts';
import { studyMarkdown } from '../markdown.ts';
import { readReplays, withReplays } from '../replays.ts';
import type { StudyResult } from '../results.ts';
import { RESULT_FILE, readResult } from '../rows.ts';
import { renderPicture } from './picture.ts';
import { renderReport } from './report.ts';

/** Writes a result in all its forms into a study's folder. */
export async function writeReport(folder: string, result: StudyResult): Promise<void> {
  const files = {
    [RESULT_FILE]: JSON.stringify(result),
    'report.md': studyMarkdown(result),
    'report.html': renderReport(result),
  };
  for (const [name, text] of Object.entries(files)) await writeAtomic(join(folder, name), text);
  const picture = join(folder, 'picture.svg');
  const drawn = renderPicture(result);
  await (drawn === undefined ? rm(picture, { force: true }) : writeAtomic(picture, drawn));
}

/**
 * Writes a study's report anew from its result and from what came of repeating its rows; nothing is run.
 *
 * @throws RankineError `studies/no-result`
 */
export async function refreshReport(folder: string): Promise<StudyResult> {
  const result = withReplays(judgedAgain(await readResult(folder)), await readReplays(folder));
  await writeReport(folder, result);
  return result;
}
