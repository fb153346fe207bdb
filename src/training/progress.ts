import { RankineError } from '../errors.ts';

export interface Progress {
  /** Updates done. */
  readonly step: number;
  readonly total: number;
  /** Tokens per second over the recent window; undefined before any time has passed. */
  readonly tokensPerSecond?: number;
  /** Updates per second over the recent window. */
  readonly stepsPerSecond?: number;
  /** Seconds to the last update at the recent pace. */
  readonly secondsLeft?: number;
  /** Seconds since the start of this process's part of the run. */
  readonly secondsPassed: number;
}

export interface ProgressMeter {
  /** Reports that update `step` is done and took `tokens` tokens. */
  advance(step: number, tokens: number): Progress;
  /** Leaves the time since the last `advance` out of the pace: call it after evaluation or saving. */
  pause(): void;
}

export interface ProgressOptions {
  /** Updates in the whole run. */
  readonly total: number;
  /** Update at which this process starts; above 0 on resume. */
  readonly from?: number;
  /** Length of the window, in reported updates. Default 20: follows changes, hides single slow updates. */
  readonly window?: number;
  /** Seconds, monotone. Default: `performance.now()`. */
  readonly clock?: () => number;
}

interface Interval {
  readonly seconds: number;
  readonly steps: number;
  readonly tokens: number;
}

/** Measures the pace of a run over a sliding window of training time; evaluation and saving are left out by `pause`. */
export function progressMeter(options: ProgressOptions): ProgressMeter {
  const { total, from = 0, window = 20, clock = () => performance.now() / 1000 } = options;
  if (!(total >= 1) || !(window >= 1))
    throw new RankineError(
      'training/bad-progress',
      `A meter needs total and window of at least 1, got ${total} and ${window}.`,
    );
  const started = clock();
  const intervals: Interval[] = [];
  let reports = 0;
  let last = { time: started, step: from };
  return {
    advance(step, tokens) {
      const time = clock();
      intervals.push({ seconds: time - last.time, steps: step - last.step, tokens });
      // The first update also creates sessions and fills caches: it is dropped as soon as there is another.
      const secondReport = ++reports === 2;
      if (secondReport || intervals.length > window) intervals.shift();
      last = { time, step };
      return { step, total, secondsPassed: time - started, ...pace(intervals, total - step) };
    },
    pause() {
      last = { ...last, time: clock() };
    },
  };
}

function pace(intervals: readonly Interval[], stepsLeft: number): Partial<Progress> {
  const seconds = sum(intervals, (i) => i.seconds);
  if (!(seconds > 0)) return {};
  const stepsPerSecond = sum(intervals, (i) => i.steps) / seconds;
  return {
    tokensPerSecond: sum(intervals, (i) => i.tokens) / seconds,
    stepsPerSecond,
    secondsLeft: stepsPerSecond > 0 ? stepsLeft / stepsPerSecond : undefined,
  };
}

function sum<T>(items: readonly T[], value: (item: T) => number): number {
  return items.reduce((total, item) => total + value(item), 0);
}
