import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { errorJson, errorText } from './report-error.ts';
import { styleFor } from './terminal/index.ts';

/** One verb of the command line, one file. */
export interface Verb {
  /** Adds arguments, options and what they do to the verb's command. */
  define(command: Command): void;
}

interface Entry {
  readonly name: string;
  readonly summary: string;
  /** Only the chosen verb is loaded: `rankine --help` must not wait for an engine. */
  load(): Promise<Verb>;
}

const VERBS: readonly Entry[] = [
  {
    name: 'train',
    summary: 'adapt (or train) a model as a recipe says',
    load: async () => (await import('./verbs/train.ts')).trainVerb,
  },
  {
    name: 'compare',
    summary: 'many methods at one budget, several seeds: which is best, and how sure',
    load: async () => (await import('./verbs/compare.ts')).compareVerb,
  },
  {
    name: 'replay',
    summary: 'run one row of a study again, or all: the same bytes?',
    load: async () => (await import('./verbs/replay.ts')).replayVerb,
  },
  {
    name: 'studio',
    summary: 'studies in the browser: live reports, stop and resume, a form for new ones',
    load: async () => (await import('./verbs/studio.ts')).studioVerb,
  },
  {
    name: 'evaluate',
    summary: 'loss, perplexity or accuracy of a model; exact match of its answers',
    load: async () => (await import('./verbs/evaluate.ts')).evaluateVerb,
  },
  {
    name: 'generate',
    summary: 'continue a prompt or answer it',
    load: async () => (await import('./verbs/generate.ts')).generateVerb,
  },
  {
    name: 'merge',
    summary: 'fold an adapter into its base: a whole Hugging Face model',
    load: async () => (await import('./verbs/merge.ts')).mergeVerb,
  },
  {
    name: 'export',
    summary: 'a PEFT adapter from a run or from one of its checkpoints',
    load: async () => (await import('./verbs/export.ts')).exportVerb,
  },
  {
    name: 'estimate',
    summary: 'memory that a run will take, and what would fit less',
    load: async () => (await import('./verbs/estimate.ts')).estimateVerb,
  },
  {
    name: 'info',
    summary: 'architecture, parameters and layers of a model',
    load: async () => (await import('./verbs/info.ts')).infoVerb,
  },
  {
    name: 'methods',
    summary: 'every adapter and optimizer, what it costs, when to choose it',
    load: async () => (await import('./verbs/methods.ts')).methodsVerb,
  },
];

const EXAMPLES = `
Examples:
  rankine train --model quickstart/base --data quickstart/data/train.jsonl
  rankine generate --adapter runs/latest/adapter --prompt "Once upon a time"
  rankine methods

Every verb explains itself: rankine train --help`;

/** Runs one command line; sets the exit code of the process. */
export async function runCommandLine(args: readonly string[]): Promise<void> {
  const program = new Command('rankine')
    .description('Low-rank learning and ranking: which method, at your budget, on your data?')
    .version(ownVersion(), '-v, --version')
    .helpCommand(false)
    .addHelpText('after', EXAMPLES);
  for (const { name, summary, load } of VERBS) {
    const command = program.command(name).description(summary);
    if (args.includes(name)) (await load()).define(command);
    quiet(command);
  }
  quiet(program);
  if (args.length === 0) {
    program.outputHelp();
    return;
  }
  try {
    await program.parseAsync(args, { from: 'user' });
  } catch (error) {
    fail(error, args.includes('--json'));
  }
}

/** Lets errors come to us instead of ending the process, in the form of all other errors. */
function quiet(command: Command): void {
  command.exitOverride().showSuggestionAfterError();
  command.configureOutput({
    outputError: (text, write) => write(text.replace(/^error:/, 'error [cli/usage]:')),
  });
}

function fail(error: unknown, json: boolean): void {
  if (error instanceof CommanderError) {
    // Commander has already said what is wrong, or shown the help that was asked for.
    process.exitCode = error.exitCode;
    return;
  }
  process.exitCode = 1;
  const text = json ? JSON.stringify(errorJson(error)) : errorText(error, styleFor(process.stderr));
  process.stderr.write(`${text}\n`);
}

function ownVersion(): string {
  return JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')).version;
}
