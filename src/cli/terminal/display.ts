import type { WriteStream } from 'node:tty';
import { renderFrame } from './frame.ts';
import { history } from './history.ts';
import { evaluationLine, logLine } from './log-line.ts';
import { redraw } from './redraw.ts';
import type { Evaluation, RunView } from './run-view.ts';
import { canRedraw, styleFor } from './style.ts';

/** Numbers of one logging step. */
export type Logged = Pick<RunView, 'step'> &
  Partial<Pick<RunView, 'loss' | 'rate' | 'tokensPerSecond' | 'memory' | 'secondsPassed' | 'secondsLeft'>>;

export interface RunDisplay {
  logged(numbers: Logged): void;
  evaluated(evaluation: Evaluation): void;
  /** What the run does now: `training`, `evaluating`, `saving`, … */
  status(status: string): void;
  /** A message that stays: a warning, where something was saved. */
  print(text: string): void;
  /** Draws the last frame and gives the terminal back. Calling it again does nothing. */
  end(status: string): void;
}

/** The part of a stream that a display uses; `process.stdout` is one. */
export type DisplayStream = Pick<WriteStream, 'write'> &
  Partial<Pick<WriteStream, 'isTTY' | 'columns' | 'rows'>>;

export interface DisplayOptions {
  readonly title: string;
  /** Updates in the whole run. */
  readonly total: number;
  readonly stream?: DisplayStream;
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Milliseconds between frames. Default 250. */
  readonly interval?: number;
}

/** Shows a run: redrawn in place in a terminal, one plain line for each event elsewhere (no terminal, CI, dumb ones). */
export function openDisplay(options: DisplayOptions): RunDisplay {
  const { stream = process.stdout, env = process.env } = options;
  return canRedraw(stream, env) ? liveDisplay(options, stream, env) : plainDisplay(options, stream);
}

function plainDisplay({ title, total }: DisplayOptions, stream: DisplayStream): RunDisplay {
  const print = (text: string): void => void stream.write(`${text}\n`);
  let ended = false;
  print(title);
  return {
    logged: (numbers) => print(logLine({ ...EMPTY, title, total, ...numbers })),
    evaluated: (evaluation) => print(evaluationLine(evaluation, total)),
    status: () => {},
    print,
    end(status) {
      if (!ended) print(status);
      ended = true;
    },
  };
}

function liveDisplay(
  { title, total, interval = 250 }: DisplayOptions,
  stream: DisplayStream,
  env: NonNullable<DisplayOptions['env']>,
): RunDisplay {
  const style = styleFor(stream, env);
  const screen = redraw(stream);
  const losses = history();
  const evaluations: Evaluation[] = [];
  let view: RunView = { ...EMPTY, title, total };
  const draw = (): void => {
    const width = (stream.columns || 80) - 1; // a full last column would make some terminals wrap
    screen.draw(
      renderFrame({ ...view, losses: losses.points(), evaluations }, width, { style, rows: stream.rows }),
    );
  };
  const timer = setInterval(draw, interval);
  timer.unref();
  const giveBack = (): void => screen.end();
  process.once('exit', giveBack);
  let ended = false;
  draw();
  return {
    logged(numbers) {
      view = { ...view, ...numbers };
      if (numbers.loss !== undefined) losses.push({ step: numbers.step, value: numbers.loss });
    },
    evaluated: (evaluation) => void evaluations.push(evaluation),
    status(status) {
      view = { ...view, status };
    },
    print: (text) => screen.print(text),
    end(status) {
      if (ended) return;
      ended = true;
      clearInterval(timer);
      view = { ...view, status };
      draw();
      process.off('exit', giveBack);
      screen.end();
    },
  };
}

const EMPTY: Omit<RunView, 'title' | 'total'> = { status: 'training', step: 0, losses: [], evaluations: [] };
