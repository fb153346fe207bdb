import type { TrainResult } from '../../training/index.ts';
import { FULL, type Recipe } from '../../training/recipe.ts';
import { bytes, duration, number, percent, type Style } from '../terminal/index.ts';

/** What a finished run says: what was reached, where the result lies, what to try next. */
export function endMessage(recipe: Recipe, result: TrainResult, style: Style): string[] {
  const { steps, total, seconds, peakMemory } = result;
  const reached = `Step ${steps} of ${total} in ${duration(seconds)}, peak memory ${bytes(peakMemory)}.`;
  if (!result.finished)
    return [reached, 'Go on with:', command(style, `train --resume --output ${quoted(recipe.output)}`)];
  return [
    reached,
    lossLine(result),
    `${isAdapter(recipe, result) ? 'The adapter' : 'The model'} is in ${style.strong(result.artifact!)}.`,
    'Try next:',
    ...nextCommands(recipe, result).map((text) => command(style, text)),
  ];
}

function lossLine({ loss, evaluation }: TrainResult): string {
  const trained = Number.isNaN(loss) ? 'Nothing was left to do' : `Training loss ${number(loss)}`;
  if (!evaluation) return `${trained}.`;
  const { accuracy, loss: validation } = evaluation;
  const judged =
    accuracy === undefined ? `perplexity ${number(Math.exp(validation))}` : `accuracy ${percent(accuracy)}`;
  return `${trained}; validation loss ${number(validation)}, ${judged}.`;
}

/** A weight form without an exact PEFT form leaves a merged model in `model`. */
function isAdapter(recipe: Recipe, { artifact }: TrainResult): boolean {
  return recipe.adapter.method !== FULL && artifact!.endsWith('adapter');
}

function nextCommands(recipe: Recipe, result: TrainResult): string[] {
  const artifact = quoted(result.artifact!);
  const adapter = isAdapter(recipe, result);
  const model = adapter
    ? `--model ${quoted(recipe.model.path)} --adapter ${artifact}`
    : `--model ${artifact}`;
  const data = held(recipe);
  const { task } = recipe.model;
  // Where config.json says what the model is for, its evaluation tells.
  const generates =
    (task ?? 'language-modelling') === 'language-modelling' && result.evaluation?.accuracy === undefined;
  return [
    ...(generates ? [`generate ${model} --prompt "…"`] : []),
    `evaluate ${model} --data ${quoted(data ?? 'test.jsonl')}`,
    ...(adapter ? [`merge ${model} --output merged`] : []),
  ];
}

/** The path of the validation data, where there is one. */
function held({ data: { validation } }: Recipe): string | undefined {
  const path = typeof validation === 'object' && 'path' in validation ? validation.path : validation;
  return typeof path === 'string' ? path : path?.[0];
}

function command(style: Style, text: string): string {
  return `  ${style.accent(`npx rankine ${text}`)}`;
}

/** As a shell reads it back. */
function quoted(path: string): string {
  return /^[\w./@:=-]+$/.test(path) ? path : `'${path.replaceAll("'", `'\\''`)}'`;
}
