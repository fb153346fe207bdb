import type { Point } from './curve.ts';

export interface Evaluation {
  readonly step: number;
  /** Metric names and values. */
  readonly values: Readonly<Record<string, number>>;
  /** The best so far. */
  readonly best?: boolean;
}

/** All that a display shows of a run. Numbers that are not known yet are absent. */
export interface RunView {
  readonly title: string;
  /** What the run does right now: `training`, `evaluating`, `saving`, `done`, … */
  readonly status: string;
  /** Updates done. */
  readonly step: number;
  readonly total: number;
  readonly losses: readonly Point[];
  readonly loss?: number;
  /** Learning rate. */
  readonly rate?: number;
  readonly tokensPerSecond?: number;
  /** Resident memory in bytes. */
  readonly memory?: { readonly now: number; readonly peak: number };
  readonly secondsPassed?: number;
  readonly secondsLeft?: number;
  /** In order of their steps. */
  readonly evaluations: readonly Evaluation[];
}
