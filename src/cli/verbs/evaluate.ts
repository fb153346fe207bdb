import type { Command } from 'commander';
import { loadTokenizer, openDataset } from '../../data/index.ts';
import { resolveDataset } from '../../formats/index.ts';
import { type ExactMatch, exactMatch } from '../../studies/exact-match.ts';
import { createEvaluator, type Evaluation, openFeed, parseRecipe } from '../../training/index.ts';
import { collected, integerFlag } from '../flag-values.ts';
import { modelOptions } from '../model-options.ts';
import { type ModelFlags, openRunning } from '../open-model.ts';
import type { Verb } from '../program.ts';
import { number, percent, table } from '../terminal/index.ts';

interface Options extends ModelFlags {
  readonly data: readonly string[];
  readonly generate?: boolean;
  readonly limit?: number;
  readonly batch: number;
  readonly maxLength?: number;
  readonly maxTokens?: number;
  readonly show: number;
  readonly json?: boolean;
}

const EXAMPLES = `
Loss and perplexity are means over the tokens that training would learn; a classifier's accuracy is over its rows.

Examples:
  rankine evaluate --model gpt2 --data valid.jsonl
  rankine evaluate --adapter runs/latest/adapter --data test.jsonl --generate --show 5
  rankine evaluate --adapter runs/latest/adapter --data test.jsonl --generate --json
  rankine evaluate --adapter runs/latest/adapter --data photos/test`;

export const evaluateVerb: Verb = {
  define(command: Command) {
    modelOptions(command)
      .requiredOption('--data <path>', 'what to evaluate on; may be given several times', collected)
      .option('--generate', 'also answer every prompt and count exact matches (greedy)')
      .option('--limit <n>', 'rows that are read at most', integerFlag)
      .option('--batch <n>', 'rows in a batch', integerFlag, 32)
      .option('--max-length <n>', 'tokens in a row at most', integerFlag)
      .option('--max-tokens <n>', 'longest answer (default: the longest that is expected)', integerFlag)
      .option('--show <n>', 'answers to print with --generate', integerFlag, 0)
      .option('--json', 'one JSON object; with --generate it holds every answer')
      .addHelpText('after', EXAMPLES)
      .action(run);
  },
};

async function run(options: Options): Promise<void> {
  const opened = await openRunning(options);
  const { model, base, engine, adaptation } = opened;
  try {
    const spec = { path: [...options.data], limit: options.limit };
    const recipe = parseRecipe({
      model: base,
      // The rows are wanted in file order, once: as validation data. Training data is needed but not read.
      data: { train: { ...spec, limit: 1 }, validation: spec, maxLength: options.maxLength },
      batch: options.batch,
    });
    const feed = await openFeed(recipe, model);
    const evaluate = createEvaluator({ engine, model, adaptation, trainables: [], seed: 0 }, feed.shapeOf);
    const evaluation = await evaluate(feed.validation!());
    const exact = options.generate
      ? await exactMatch(
          { ...opened, tokenizer: await loadTokenizer(model.folder!) },
          await openDataset(spec, (id) => resolveDataset(id)),
          options,
        )
      : undefined;
    const text = options.json ? toJson(evaluation, exact) : lines(options, evaluation, exact).join('\n');
    process.stdout.write(`${text}\n`);
  } finally {
    await engine.dispose();
  }
}

function toJson(evaluation: Evaluation, exact: ExactMatch | undefined): string {
  const perplexity = evaluation.accuracy === undefined ? { perplexity: Math.exp(evaluation.loss) } : {};
  return JSON.stringify({ ...evaluation, ...perplexity, ...(exact ? { exactMatch: exact } : {}) });
}

function lines(options: Options, evaluation: Evaluation, exact: ExactMatch | undefined): string[] {
  const { loss, targets, accuracy } = evaluation;
  const rows = [['loss', number(loss)]];
  if (accuracy === undefined)
    rows.push(['perplexity', number(Math.exp(loss))], ['tokens', targets.toLocaleString('en')]);
  else rows.push(['accuracy', percent(accuracy)], ['rows', targets.toLocaleString('en')]);
  if (exact) {
    const [low, high] = exact.interval.map(percent);
    rows.push([
      'exact match',
      `${percent(exact.share)} (${exact.right} of ${exact.total}; 95 %: ${low} to ${high})`,
    ]);
  }
  return [...table(rows), ...(exact ? shown(exact, options.show) : [])];
}

function shown({ answers }: ExactMatch, count: number): string[] {
  if (count === 0) return [];
  const rows = answers
    .slice(0, count)
    .map((a) => [a.prompt.trim(), a.expected.trim(), a.answer.trim(), a.right ? '✓' : '✗']);
  const width = process.stdout.isTTY ? process.stdout.columns : undefined;
  return [
    '',
    ...table(
      rows.map((row) => row.map(oneLine)),
      { header: ['prompt', 'expected', 'answer', ''], width },
    ),
  ];
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, ' ');
}
