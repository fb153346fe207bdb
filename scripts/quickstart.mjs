// npm run quickstart: adapts the base model that ships with the repository to a task that it cannot do before.
//   --short        fewer updates and test examples, for automatic checks
//   --model PATH   another base model
import { parseArgs } from 'node:util';

const root = new URL('../', import.meta.url);
process.chdir(new URL('.', root).pathname);
const built = (path) => import(new URL(`dist/${path}`, root).href);

const { values: flags } = parseArgs({
  options: { short: { type: 'boolean', default: false }, model: { type: 'string' } },
});
const TEST = 'quickstart/data/test.jsonl';
const RECIPE = 'quickstart/adapt.yaml';
const SHORT = { steps: 80, examples: 40 };
const SHOWN = 6;

const { createEngine, loadAdapter, loadModel, loadTokenizer, openDataset, resolveModel, train } =
  await built('index.js');
const { exactMatch } = await built('studies/exact-match.js');
const { recipeFrom } = await built('cli/recipe.js');
const { errorText } = await built('cli/report-error.js');
const { bar, percent, styleFor, table } = await built('cli/terminal/index.js');
const { printer } = await built('cli/train/printer.js');
const { listenForInterrupt } = await built('training/index.js');

const style = styleFor(process.stdout);
const say = (text = '') => console.log(text);
const started = performance.now();

try {
  await quickstart();
} catch (error) {
  console.error(errorText(error, styleFor(process.stderr)));
  process.exitCode = 1;
}

async function quickstart() {
  const recipe = await recipeFrom(RECIPE, {
    model: flags.model,
    steps: flags.short ? SHORT.steps : undefined,
  });
  say(style.strong('Dates as people write them → ISO 8601, learned by a low-rank adapter'));
  say(`Base model: ${recipe.model.path}. Recipe: ${RECIPE}. Test: ${TEST}, dates that training never sees.`);
  say();

  say('Before: the base model answers …');
  const before = await measure(recipe.model.path);
  say(rate(before));
  say();

  const result = await adapt(recipe);
  if (!result.finished) {
    process.exitCode = 130;
    return;
  }
  say();
  say('After: the same questions with the adapter …');
  const after = await measure(recipe.model.path, result.artifact);
  say(rate(after));
  say();
  sideBySide(before.answers, after.answers);
  closing(recipe, result, before, after);
}

/** Exact matches among the answers of the base, with an adapter or without. */
async function measure(path, adapter) {
  const model = await loadModel(await resolveModel(path));
  const adaptation = adapter && (await loadAdapter(model, adapter));
  const tokenizer = await loadTokenizer(model.folder);
  const engine = await createEngine();
  try {
    const limit = flags.short ? SHORT.examples : undefined;
    return await exactMatch({ engine, model, adaptation, tokenizer }, await openDataset(TEST), { limit });
  } finally {
    await engine.dispose();
  }
}

async function adapt(recipe) {
  const out = printer(recipe, { ending: false });
  const interruption = listenForInterrupt({
    onFirst: () => out.interrupted(),
    onSecond: () => out.abandon(),
  });
  try {
    const onEvent = (event) => out.event(event);
    // Each quickstart begins anew.
    const result = await train(recipe, { mode: 'overwrite', onEvent, signal: interruption.signal });
    out.result(result);
    return result;
  } finally {
    interruption.dispose();
  }
}

function rate({ share, right, total, interval }) {
  const [low, high] = interval.map(percent);
  const line = `${style.strong(percent(share))} right (${right} of ${total}; 95 %: ${low} to ${high})`;
  return `${style.good(bar(share, 30))} ${line}`;
}

function sideBySide(before, after) {
  const line = (text) => text.trim().replace(/\s+/g, ' ');
  const rows = after.slice(0, SHOWN).map((a, i) => {
    const asked = line(a.prompt.replace(/ISO:$/, ''));
    return [asked, line(before[i].answer), line(a.answer), a.right ? '✓' : `✗ ${line(a.expected)}`];
  });
  const width = process.stdout.isTTY ? process.stdout.columns : 110;
  for (const text of table(rows, { header: ['date', 'before', 'after', ''], width })) say(text);
  say();
}

function closing(recipe, result, before, after) {
  // Otherwise something is broken, and whoever checks automatically must hear of it.
  if (after.share <= before.share) process.exitCode = 1;
  const { artifact, trainable } = result;
  const seconds = Math.round((performance.now() - started) / 1000);
  const weights = trainable.toLocaleString('en');
  say(
    `Exact match ${percent(before.share)} → ${style.good(percent(after.share))} in ${seconds} s, ${weights} weights trained.`,
  );
  say(`The adapter is in ${style.strong(artifact)}; Python's PEFT loads it too. Try next:`);
  const model = `--model ${recipe.model.path} --adapter ${artifact}`;
  for (const command of [
    `generate ${model} --prompt "the 3rd of May 1980\\nISO:"`,
    `evaluate ${model} --data ${TEST} --generate --show 10`,
    `merge ${model} --output runs/merged --overwrite`,
    `train ${RECIPE} --adapter dora --rank 4 --output runs/dora`,
    'methods',
  ])
    say(`  ${style.accent(`npx rankine ${command}`)}`);
}
