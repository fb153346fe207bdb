import { type ReplayAll, type ReplayAllOptions, replayAll } from '../../studies/index.ts';
import { refreshReport } from '../../studies/report/index.ts';
import { listenForInterrupt } from '../../training/index.ts';
import { styleFor } from '../terminal/index.ts';
import { liveRows } from './live-rows.ts';

/** Repeats all rows of a study that are asked for, and writes its report with what came of it. */
export async function replayRows(
  folder: string,
  options: ReplayAllOptions & { readonly json?: boolean },
): Promise<void> {
  const interruption = listenForInterrupt({
    onFirst: () => process.stderr.write('\nSaving and stopping; press Ctrl-C again to stop at once.\n'),
  });
  const live = liveRows(process.stderr);
  try {
    const { signal } = interruption;
    const outcome = await replayAll(folder, options, { signal, emit: (event) => live.event(event) });
    live.end();
    await refreshReport(folder);
    process.stdout.write(`${options.json ? JSON.stringify(outcome) : lines(outcome).join('\n')}\n`);
    if (outcome.differing.length + outcome.failed.length > 0) process.exitCode = 1;
    else if (outcome.left > 0) process.exitCode = 130;
  } finally {
    live.end();
    interruption.dispose();
  }
}

function lines({ rows, same, differing, failed, left }: ReplayAll): string[] {
  const style = styleFor(process.stdout);
  return [
    style.strong(`Same bytes: ${same} of ${rows} rows.`),
    ...differing.flatMap(({ row, firstDifference, changed }) => [
      `Other bytes: ${row}.`,
      ...Object.entries(firstDifference).map(
        ([metric, example]) => `  ${metric}: example ${example + 1} is the first that differs.`,
      ),
      ...(changed.length > 0 ? [`  Not as it was: ${changed.join('; ')}.`] : []),
    ]),
    ...failed.map(({ row, reason }) => `Failed: ${row}. ${reason}`),
    ...(left > 0 ? [`Still to come: ${left}. The same command goes on.`] : []),
  ];
}
