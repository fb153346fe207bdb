import { join } from 'node:path';
import { type Command, Option } from 'commander';
import { RankineError } from '../../errors.ts';
import { openRow, type Replay, replay } from '../../studies/index.ts';
import { listenForInterrupt } from '../../training/index.ts';
import { integerFlag, oneOf, positiveFlag } from '../flag-values.ts';
import type { Verb } from '../program.ts';
import { replayRows } from '../replay/all-rows.ts';
import { styleFor, table } from '../terminal/index.ts';

interface Options {
  readonly row?: string;
  readonly all?: boolean;
  readonly treatment?: 'default' | 'tuned';
  readonly seed?: number;
  readonly parallel?: number;
  readonly again?: boolean;
  readonly keep?: boolean;
  readonly output?: string;
  readonly json?: boolean;
}

const EXAMPLES = `
RESULT is the folder of a study (say which row), or of one run. The run is trained and scored once more in a folder of
its own; then its trained arrays and the score of every example are compared. Exit code 1: they are not the same bytes.
The same bytes are promised for the same versions, processor and number of threads.

With --all every finished row of a study is repeated, so many at once as the study runs. Outcomes are kept in the study's
replays.json and shown in its report; stopped or killed, the same command goes on. A repetition's folder stays where it
gave other bytes.

Examples:
  rankine replay studies/dates --row lora/2
  rankine replay studies/dates --row bone/tuned/1
  rankine replay studies/dates --all
  rankine replay studies/dates --all --treatment tuned --seed 1 --parallel 2
  rankine replay studies/dates/runs/0314a37ce6c4eab2 --json`;

export const replayVerb: Verb = {
  define(command: Command) {
    command
      .argument('<result>', 'folder of a study, or of one run')
      .option('--row <method/seed>', 'which run of a study: METHOD/SEED, METHOD/tuned/SEED, or its key')
      .addOption(new Option('--all', 'every finished run of a study').conflicts('row'))
      .option(
        '--treatment <settings>',
        'with --all: those of default or of tuned settings',
        oneOf('default', 'tuned'),
      )
      .option('--seed <number>', 'with --all: those of one seed', integerFlag)
      .option('--parallel <number>', 'with --all: runs at once (default: as the study)', positiveFlag)
      .option('--again', 'with --all: those too that were repeated before')
      .option('--keep', 'with --all: leave the folders of repetitions that gave the same bytes')
      .option(
        '--output <folder>',
        'folder of the repetition, absent or empty (default: under runs/); with --all, of all (default: replays/ in the study’s)',
      )
      .option('--json', 'one JSON object at the end')
      .addHelpText('after', EXAMPLES)
      .action(run);
  },
};

async function run(path: string, options: Options): Promise<void> {
  if (options.all) return replayRows(path, options);
  refuseWithoutAll(options);
  const row = await openRow(path, options.row);
  const output = options.output ?? join('runs', `replay-${row.run?.key.slice(0, 8) ?? 'run'}-${Date.now()}`);
  const interruption = listenForInterrupt({
    onFirst: () => process.stderr.write('\nStopping; press Ctrl-C again to stop at once.\n'),
  });
  try {
    const result = await replay(row, { output, signal: interruption.signal });
    if (!result) {
      process.exitCode = 130;
      return;
    }
    process.stdout.write(`${options.json ? JSON.stringify(result) : lines(result).join('\n')}\n`);
    if (!result.same) process.exitCode = 1;
  } finally {
    interruption.dispose();
  }
}

const WITH_ALL = ['treatment', 'seed', 'parallel', 'again', 'keep'] as const;

/** @throws RankineError `cli/usage` */
function refuseWithoutAll(options: Options): void {
  const given = WITH_ALL.find((name) => options[name] !== undefined);
  if (given === undefined) return;
  throw new RankineError('cli/usage', `--${given} chooses among all rows of a study.`, 'Add --all.');
}

function lines({ same, weights, scores, firstDifference, changed, folder }: Replay): string[] {
  const style = styleFor(process.stdout);
  const rows = [
    ['trained arrays', weights.before.slice(0, 12), weights.now.slice(0, 12)],
    ...scores.map((s) => [s.metric, String(s.before ?? ''), String(s.now)]),
  ];
  const differing = Object.entries(firstDifference).map(
    ([metric, example]) => `${metric}: example ${example + 1} is the first that differs.`,
  );
  return [
    style.strong(same ? 'The same bytes.' : 'Not the same bytes.'),
    ...table(rows, { header: ['', 'then', 'now'] }),
    ...differing,
    ...(changed.length > 0 ? [`Not as it was: ${changed.join('; ')}.`] : []),
    `The repetition is in ${folder}.`,
  ];
}
