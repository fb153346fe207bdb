import { RankineError } from '../errors.ts';

/** Learning rate of an update; updates are counted from 0. Pure: resuming needs no state of its own. */
export type Schedule = (step: number) => number;

interface Warmed {
  /** Highest learning rate, reached at the end of the warm-up. */
  readonly peak: number;
  /** Updates in the whole run. */
  readonly total: number;
  /** Linear warm-up from 0: below 1 a share of `total` (rounded up), from 1 on a number of updates. Default 0. */
  readonly warmup?: number;
}

interface Ending extends Warmed {
  /** Rate at the end as a share of `peak`, 0 to 1. Default 0; pretraining uses 0.1. */
  readonly final?: number;
  /** Update at which the final rate is reached and then held. Default `total`. */
  readonly length?: number;
}

export interface ConstantSchedule extends Warmed {
  readonly kind: 'constant';
}

export interface LinearSchedule extends Ending {
  readonly kind: 'linear';
}

export interface CosineSchedule extends Ending {
  readonly kind: 'cosine';
}

/** Hu et al. 2024 (MiniCPM), arXiv 2404.06395: warm up, hold, decay. */
export interface WarmupStableDecaySchedule extends Ending {
  readonly kind: 'warmup-stable-decay';
  /** The decay at the end: below 1 a share of `total` (rounded up), from 1 on a number of updates. */
  readonly decay: number;
  /** Curve of the decay. Default `linear`. */
  readonly shape?: DecayShape;
}

/** Vaswani et al. 2017: rate ~ 1/√step after the warm-up. */
export interface InverseSqrtSchedule extends Warmed {
  readonly kind: 'inverse-sqrt';
  /** Updates after which the rate has fallen by √2. Default: the warm-up, or 10,000 without one. */
  readonly timescale?: number;
}

/**
 * ReLoRA (Lialin et al. 2023, arXiv 2307.05695, section 3): a cosine over the whole run; after each restart the rate
 * rises linearly from 0 to the value that the cosine has at the end of the rise, then follows the cosine.
 */
export interface JaggedCosineSchedule extends Ending {
  readonly kind: 'jagged-cosine';
  /** Updates between restarts (ReLoRA's merges). */
  readonly restartEvery: number;
  /** Updates that each rise takes; usually 50 to 100. */
  readonly restartWarmup: number;
}

export type ScheduleOptions =
  | ConstantSchedule
  | LinearSchedule
  | CosineSchedule
  | WarmupStableDecaySchedule
  | InverseSqrtSchedule
  | JaggedCosineSchedule;

export type DecayShape = 'linear' | 'cosine' | '1-sqrt';

/** Share of the way still to go after the share `x` (0 to 1) of a decay: 1 at its start, 0 at its end. */
const decays: Record<DecayShape, (x: number) => number> = {
  linear: (x) => 1 - x,
  cosine: (x) => 0.5 * (1 + Math.cos(Math.PI * x)),
  '1-sqrt': (x) => 1 - Math.sqrt(x),
};

/**
 * Builds the schedule that `options` describe. Values are those of the schedules of the same names in transformers:
 * with a warm-up of w > 0 the rate is 0 at update 0 and `peak` at update w; `final * peak` is reached at update `length`.
 *
 * @throws RankineError `training/bad-schedule` for a value outside its range, `training/warmup-too-long` and
 *   `training/schedule-too-long` for phases that do not fit the run.
 */
export function schedule(options: ScheduleOptions): Schedule {
  check(options);
  const warmup = inSteps(options.warmup ?? 0, options.total);
  const after = afterWarmup(options, warmup);
  return (step) => options.peak * (step < warmup ? step / warmup : after(step));
}

/** Rate relative to the peak from the end of the warm-up on. */
function afterWarmup(options: ScheduleOptions, warmup: number): Schedule {
  switch (options.kind) {
    case 'constant':
      return () => 1;
    case 'linear':
    case 'cosine':
      return decay(options.kind, warmup, lengthOf(options), options.final);
    case 'warmup-stable-decay':
      return stableThenDecay(options, warmup);
    case 'inverse-sqrt': {
      const timescale = options.timescale ?? (warmup || 10_000);
      return (step) => 1 / Math.sqrt((step - warmup + timescale) / timescale);
    }
    case 'jagged-cosine':
      return jagged(options, warmup);
  }
}

/** From 1 at `start` to `final` at `end`, constant outside. */
function decay(shape: DecayShape, start: number, end: number, final = 0): Schedule {
  const span = Math.max(1, end - start);
  return (step) => final + (1 - final) * decays[shape](Math.min(1, Math.max(0, step - start) / span));
}

function stableThenDecay(options: WarmupStableDecaySchedule, warmup: number): Schedule {
  const length = lengthOf(options);
  const steps = inSteps(options.decay, options.total);
  if (warmup + steps > length)
    throw new RankineError(
      'training/schedule-too-long',
      `A warm-up of ${warmup} and a decay of ${steps} updates do not fit a schedule of ${length}.`,
      'Shorten schedule.warmup or schedule.decay, or train longer.',
    );
  return decay(options.shape ?? 'linear', length - steps, length, options.final);
}

function jagged(options: JaggedCosineSchedule, warmup: number): Schedule {
  const { restartEvery, restartWarmup } = options;
  if (warmup > restartEvery || restartWarmup >= restartEvery)
    throw new RankineError(
      'training/warmup-too-long',
      `The warm-up of ${warmup} and the re-warm-up of ${restartWarmup} updates must end before the next restart, ${restartEvery} updates later.`,
      'Shorten them or raise schedule.restartEvery.',
    );
  const length = lengthOf(options);
  const cosine = decay('cosine', warmup, length, options.final);
  return (step) => {
    const since = step % restartEvery;
    if (step < restartEvery || step >= length || since >= restartWarmup) return cosine(step);
    return (since / restartWarmup) * cosine(step - since + restartWarmup);
  };
}

function lengthOf(options: Ending): number {
  return options.length ?? options.total;
}

/** Below 1 a share of `total`, rounded up; else a number of updates. */
function inSteps(value: number, total: number): number {
  return value < 1 ? Math.ceil(value * total) : value;
}

function check(options: ScheduleOptions): void {
  const { peak, total, warmup = 0 } = options;
  demand('peak', peak, Number.isFinite(peak) && peak >= 0, 'a finite number of at least 0');
  demand('total', total, isCount(total), 'a whole number of at least 1');
  demand('warmup', warmup, isSpan(warmup), 'a share below 1 or a whole number of updates');
  if (inSteps(warmup, total) > total)
    throw new RankineError(
      'training/warmup-too-long',
      `The warm-up takes ${warmup} updates, but the run has ${total}.`,
      'Shorten schedule.warmup (a value below 1 is a share of the run) or train longer.',
    );
  if (options.kind !== 'constant' && options.kind !== 'inverse-sqrt')
    checkEnding(options, inSteps(warmup, total));
  if (options.kind === 'warmup-stable-decay')
    demand(
      'decay',
      options.decay,
      options.decay > 0 && isSpan(options.decay),
      'above 0: a share below 1 or a whole number of updates',
    );
  if (options.kind === 'inverse-sqrt' && options.timescale !== undefined)
    demand('timescale', options.timescale, options.timescale > 0, 'above 0');
  if (options.kind === 'jagged-cosine') {
    demand(
      'restartEvery',
      options.restartEvery,
      isCount(options.restartEvery),
      'a whole number of at least 1',
    );
    demand(
      'restartWarmup',
      options.restartWarmup,
      isCount(options.restartWarmup),
      'a whole number of at least 1',
    );
  }
}

function checkEnding(options: Ending, warmup: number): void {
  const { final = 0, total } = options;
  const length = lengthOf(options);
  demand('final', final, final >= 0 && final <= 1, 'a share of the peak between 0 and 1');
  demand('length', length, isCount(length), 'a whole number of at least 1');
  if (length > total)
    throw new RankineError(
      'training/schedule-too-long',
      `The schedule lasts ${length} updates, but the run has ${total}: its final rate would never be reached.`,
      'Lower schedule.length or train longer.',
    );
  if (warmup > length)
    throw new RankineError(
      'training/warmup-too-long',
      `The warm-up takes ${warmup} updates, but the schedule has ${length}.`,
      'Shorten schedule.warmup or raise schedule.length.',
    );
}

function demand(field: string, value: number, holds: boolean, expected: string): void {
  if (!holds)
    throw new RankineError(
      'training/bad-schedule',
      `schedule.${field} is ${value}, but must be ${expected}.`,
    );
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 1;
}

function isSpan(value: number): boolean {
  return value >= 0 && (value < 1 || Number.isSafeInteger(value));
}
