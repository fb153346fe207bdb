import { createInterface } from 'node:readline/promises';
import type { Command } from 'commander';
import { RankineError } from '../../errors.ts';
import {
  buildResult,
  openStore,
  type Planned,
  parseStudy,
  planStudy,
  readReplays,
  runStudy,
  type Study,
  type StudyResult,
  type StudyState,
  storeFile,
  studyMarkdown,
  studyMethods,
  withReplays,
} from '../../studies/index.ts';
import { refreshReport, writeReport } from '../../studies/report/index.ts';
import { listenForInterrupt } from '../../training/index.ts';
import { liveTable } from '../compare/live-table.ts';
import { planTable } from '../compare/plan-table.ts';
import { resultsSoFar } from '../compare/results-so-far.ts';
import type { Verb } from '../program.ts';
import { readRecipeFile } from '../recipe-file.ts';

interface Options {
  readonly dryRun?: boolean;
  readonly yes?: boolean;
  readonly json?: boolean;
  readonly report?: boolean;
  readonly parquet?: string;
  readonly output?: string;
  readonly store?: string;
}

const EXAMPLES = `
STUDY is YAML, JSON or TypeScript; its fields are in docs/study.md. The plan (what fits the budget, which rank, what
memory) is shown and confirmed before anything is trained. Stopped or killed, the same command goes on where it was;
runs that any study with the same database has done are not done again.

Examples:
  rankine compare studies/dates.yaml --dry-run
  rankine compare studies/dates.yaml --yes
  rankine compare studies/dates.yaml --yes --json > result.json
  rankine compare studies/dates.yaml --yes --parquet tables
  rankine compare studies/dates.yaml --yes --store shared/runs.duckdb
  rankine compare studies/dates.yaml --report`;

export const compareVerb: Verb = {
  define(command: Command) {
    command
      .argument('<study>', 'file of the study')
      .option('--dry-run', 'show what would be run, and run nothing')
      .option('--yes', 'do not ask before running')
      .option('--report', 'write the report anew from the runs that are there, and run nothing')
      .option('--output <folder>', 'folder of the study, instead of the file’s')
      .option('--store <file>', 'database of runs, instead of the file’s')
      .option('--parquet <folder>', 'also write the database’s tables as Parquet')
      .option('--json', 'the result as one JSON object on standard output')
      .addHelpText('after', EXAMPLES)
      .action(run);
  },
};

async function run(file: string, options: Options): Promise<void> {
  const { content } = await readRecipeFile(file);
  const { output, store } = options;
  const study = parseStudy({
    ...content,
    ...(output === undefined ? {} : { output }),
    ...(store === undefined ? {} : { store }),
  });
  if (options.dryRun) return showPlan(await planStudy(study, studyMethods(study)), options);
  if (options.report) return show(await refreshReport(study.output), options);
  const interruption = listenForInterrupt({
    onFirst: () => process.stderr.write('\nSaving and stopping; press Ctrl-C again to stop at once.\n'),
  });
  const live = liveTable(process.stderr);
  const results = resultsSoFar((result) => live.result(result));
  try {
    const state = await runStudy(study, {
      signal: interruption.signal,
      confirm: (planned) => confirm(planned, study, options),
      emit: (event, now) => {
        live.event(event, now);
        results.event(event, now);
      },
    });
    live.end();
    await results.saved();
    if (!state) return;
    await finish(study, state, options);
    if (interruption.signal.aborted) process.exitCode = 130;
  } finally {
    live.end();
    interruption.dispose();
  }
}

function showPlan(planned: readonly Planned[], { json }: Options): void {
  const text = json
    ? JSON.stringify(
        planned.map((p) => p.row),
        null,
        2,
      )
    : planTable(planned, process.stdout.columns).join('\n');
  process.stdout.write(`${text}\n`);
}

async function confirm(planned: readonly Planned[], study: Study, { yes }: Options): Promise<boolean> {
  process.stderr.write(`${planTable(planned, process.stderr.columns).join('\n')}\n`);
  if (yes) return true;
  if (!process.stdin.isTTY)
    throw new RankineError(
      'studies/not-confirmed',
      `The study ${study.name} would run ${planned.filter((p) => p.row.fits).length} methods; nobody is there to confirm it.`,
      'Add --yes, or --dry-run to see the plan only.',
    );
  const prompt = createInterface({ input: process.stdin, output: process.stderr });
  const answer = await prompt.question('Run it? [y/N] ');
  prompt.close();
  return /^y(es)?$/i.test(answer.trim());
}

async function finish(study: Study, state: StudyState, options: Options): Promise<void> {
  const result = withReplays(buildResult(state), await readReplays(study.output));
  await writeReport(study.output, result);
  if (options.parquet !== undefined) {
    const store = await openStore(storeFile(study));
    await store.exportParquet(options.parquet);
  }
  show(result, options);
}

function show(result: StudyResult, { json }: Options): void {
  process.stdout.write(json ? `${JSON.stringify(result)}\n` : `\n${studyMarkdown(result)}`);
}
