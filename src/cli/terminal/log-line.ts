import { bytes, count, duration, number } from './format.ts';
import type { Evaluation, RunView } from './run-view.ts';
import { printable } from './text.ts';

const GAP = '  ';

/** One update as one line, for files and build logs. */
export function logLine(view: RunView): string {
  const { step, total, loss, rate, tokensPerSecond, memory, secondsLeft } = view;
  const cells = [`step ${String(step).padStart(String(total).length)}/${total}`];
  if (loss !== undefined) cells.push(`loss ${number(loss)}`);
  if (rate !== undefined) cells.push(`rate ${number(rate)}`);
  if (tokensPerSecond !== undefined) cells.push(`${count(tokensPerSecond)} tokens/s`);
  if (memory) cells.push(`peak ${bytes(memory.peak)}`);
  if (secondsLeft !== undefined) cells.push(`${duration(secondsLeft)} left`);
  return cells.join(GAP);
}

/** One evaluation as one line. */
export function evaluationLine({ step, values, best }: Evaluation, total: number): string {
  const cells = [`step ${String(step).padStart(String(total).length)}/${total}`];
  for (const [name, value] of Object.entries(values)) cells.push(`${printable(name)} ${number(value)}`);
  if (best) cells.push('best');
  return cells.join(GAP);
}
