import { bar } from './bar.ts';
import { curve, rangeOf } from './curve.ts';
import { bytes, count, duration, number, percent } from './format.ts';
import type { Evaluation, RunView } from './run-view.ts';
import { PLAIN, type Style } from './style.ts';
import { table } from './table.ts';
import { fitWidth, flow, printable, truncate, widthOf } from './text.ts';

export interface FrameOptions {
  readonly style?: Style;
  /** Lines of the terminal: the curve and the list of evaluations shrink to fit. Default 24. */
  readonly rows?: number;
}

const TALLEST_CURVE = 10;
const LOWEST_CURVE = 3;
const MOST_EVALUATIONS = 5;

/**
 * A run as lines of at most `width` columns: title and status, progress bar, loss curve, current numbers, evaluations.
 * Made for 40 to 200 columns. Pure: equal views give equal lines.
 */
export function renderFrame(view: RunView, width: number, options: FrameOptions = {}): string[] {
  const { style = PLAIN, rows = 24 } = options;
  const top = [titleLine(view, width, style), progressLine(view, width, style)];
  const numbers = numberLines(view, width, style);
  // The curve has an axis below and empty lines around it; the cursor takes the last line.
  const room = rows - 1 - top.length - numbers.length - 3;
  const evaluations = evaluationLines(view.evaluations, width, room - LOWEST_CURVE, style);
  const height = Math.min(TALLEST_CURVE, room - evaluations.length);
  const drawn = height >= LOWEST_CURVE ? ['', ...curveLines(view, width, height, style), ''] : [];
  return [...top, ...drawn, ...numbers, ...evaluations];
}

function titleLine({ title, status }: RunView, width: number, style: Style): string {
  const shown = truncate(printable(status), Math.floor(width / 2));
  const name = fitWidth(printable(title), Math.max(0, width - widthOf(shown) - 1));
  return `${style.strong(name)} ${style.accent(shown)}`;
}

function progressLine({ step, total, secondsLeft, status }: RunView, width: number, style: Style): string {
  const share = total > 0 ? step / total : 0;
  const left = status === 'done' ? '' : `  ${duration(secondsLeft)} left`;
  const text = truncate(`  ${step}/${total}  ${percent(share)}${left}`, width);
  return style.accent(bar(share, width - widthOf(text))) + text;
}

function numberLines(view: RunView, width: number, style: Style): string[] {
  const { loss, rate, tokensPerSecond, memory, secondsPassed } = view;
  const cells: string[] = [];
  const add = (name: string, value: string) => cells.push(`${style.dim(name)} ${style.strong(value)}`);
  if (loss !== undefined) add('loss', number(loss));
  if (rate !== undefined) add('rate', number(rate));
  if (tokensPerSecond !== undefined) add('tokens/s', count(tokensPerSecond));
  if (memory) add('memory', `${bytes(memory.now)}, peak ${bytes(memory.peak)}`);
  if (secondsPassed !== undefined) add('time', duration(secondsPassed));
  return flow(cells, width);
}

/** Value axis on the left, step axis below. */
function curveLines(view: RunView, width: number, height: number, style: Style): string[] {
  const values = rangeOf(view.losses);
  if (!values) return [style.dim(truncate('no loss yet', width)), ...Array<string>(height).fill('')];
  const labels = [number(values[1]), number(values[0])];
  const margin = Math.max(...labels.map(widthOf));
  const inner = width - margin - 2;
  const steps = [view.losses[0].step, Math.max(view.step, view.losses[0].step)] as const;
  const lines = curve(view.losses, { width: inner, height, steps, values });
  const axis = lines.map((line, i) => {
    const label = i === 0 ? labels[0] : i === height - 1 ? labels[1] : '';
    return `${style.dim(`${fitWidth(label, margin, 'right')} ${label ? '┤' : '│'}`)}${style.good(line)}`;
  });
  const last = String(steps[1]);
  const below = `${' '.repeat(margin + 2)}${fitWidth(String(steps[0]), inner - last.length)}${last}`;
  return [...axis, style.dim(below)];
}

/** The latest evaluations, with the best one kept in sight. */
function evaluationLines(all: readonly Evaluation[], width: number, room: number, style: Style): string[] {
  const shown = latestAndBest(all, Math.min(MOST_EVALUATIONS, room - 3)); // an empty line, header and rule
  if (shown.length === 0) return [];
  const best = all.findLast((evaluation) => evaluation.best);
  const names = [...new Set(shown.flatMap(({ values }) => Object.keys(values)))];
  const rows = shown.map((evaluation) => [
    String(evaluation.step),
    ...names.map((name) => (name in evaluation.values ? number(evaluation.values[name]) : '')),
    evaluation === best ? 'best' : '',
  ]);
  const align = ['right' as const, ...names.map(() => 'right' as const)];
  const [header, rule, ...body] = table(rows, { header: ['step', ...names, ''], align, width });
  const coloured = body.map((line, i) => (shown[i] === best ? style.good(line) : line));
  return ['', style.dim(header), style.dim(rule), ...coloured];
}

function latestAndBest(all: readonly Evaluation[], most: number): readonly Evaluation[] {
  if (most < 1) return [];
  const latest = all.slice(-most);
  const best = all.findLast((evaluation) => evaluation.best);
  if (!best || latest.includes(best)) return latest;
  return most === 1 ? [best] : [best, ...latest.slice(1)];
}
