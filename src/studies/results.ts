import type { Recipe } from '../training/index.ts';

/** Why a run of a study has no scores; or that it has. */
export type RunState = 'waiting' | 'running' | 'done' | 'failed' | 'diverged' | 'out-of-memory' | 'stopped';

/** What a run was for: a trial of the tuning, judged on validation data, or a row of the result, judged on test data. */
export type RunPurpose = 'trial' | 'default' | 'tuned';

/** One number of one example, in the order of the test file. Higher is better, but for losses. */
export interface Scores {
  readonly metric: string;
  readonly direction: 'max' | 'min';
  /** Mean over examples (over tokens for losses). */
  readonly mean: number;
  /** Score of each example. */
  readonly examples: readonly number[];
  /** Weight of each example in the mean (targets, for losses); absent: all equal. */
  readonly weights?: readonly number[];
}

/** Measured from outside the run's process. Bytes and seconds. */
export interface Measured {
  readonly peakMemory: number;
  readonly wall: number;
  /** Processor seconds, user and system, all threads. */
  readonly processor: number;
}

/** One run: a recipe under one seed, in a process of its own. */
export interface StudyRun {
  /** SHA-256 of the resolved recipe without its output folder, of its data and of its model: equal runs have equal keys. */
  readonly key: string;
  readonly method: string;
  readonly purpose: RunPurpose;
  readonly seed: number;
  readonly recipe: Recipe;
  readonly state: RunState;
  /** Code and message of what ended it, where it did not end well. */
  readonly reason?: string;
  /** Folder of the run. */
  readonly folder: string;
  readonly trainable?: number;
  /** Bytes of the adapter, or of the whole model, on disk. */
  readonly size?: number;
  readonly predictedMemory?: number;
  readonly measured?: Measured;
  /** Best value on the validation data: what tuning chooses by. */
  readonly validation?: number;
  /** On the test data; trials have none. The first is the study's main metric. */
  readonly scores?: readonly Scores[];
  /** Loss on a general held-out text, before and after. */
  readonly forgetting?: { readonly before: number; readonly after: number };
  readonly hardware: { readonly processor: string; readonly cores: number; readonly threads: number };
  readonly versions: Readonly<Record<string, string>>;
  /** SHA-256 of the trained arrays: what a replay must give again. */
  readonly weightsHash?: string;
  readonly modelHash?: string;
  readonly dataHash?: string;
}

/** A learning curve or a rank: a named number over updates, from `metrics.jsonl`. */
export interface Curve {
  readonly name: string;
  readonly steps: readonly number[];
  readonly values: readonly number[];
}

/** 95 % interval. */
export type Interval = readonly [low: number, high: number];

/** One method under one treatment (default settings, or tuned), over its seeds. */
export interface MethodSummary {
  readonly method: string;
  readonly label: string;
  readonly treatment: 'default' | 'tuned';
  readonly runs: readonly StudyRun[];
  /** Settings that tuning chose; empty for defaults. */
  readonly settings: Readonly<Record<string, unknown>>;
  readonly failed: number;
  /** Of the main metric. Absent where every seed failed. */
  readonly mean?: number;
  readonly spread?: number;
  /** Bootstrap over seeds and examples. Absent with one seed: nothing is claimed. */
  readonly interval?: Interval;
  readonly forgetting?: number;
  readonly trainable?: number;
  readonly peakMemory?: number;
  readonly predictedMemory?: number;
  /** Processor time of a run, which other runs at the same time do not change; wall time on other devices. */
  readonly seconds?: number;
  readonly size?: number;
  /** True where the data cannot tell it from the best. */
  readonly amongBest: boolean;
}

/** Two methods on the same examples. */
export interface Comparison {
  readonly a: string;
  readonly b: string;
  /** Mean difference a − b of the main metric, with its interval. */
  readonly difference: number;
  readonly interval: Interval;
  readonly p: number;
  /** After Holm's correction for all pairs of the same treatment. */
  readonly corrected: number;
}

/** What does not fit, and why: shown before hours are spent. */
export interface PlanRow {
  readonly method: string;
  readonly label: string;
  readonly fits: boolean;
  readonly reason?: string;
  /** What the plan chose so that the budget is spent (a rank, a block size). */
  readonly chosen: Readonly<Record<string, unknown>>;
  readonly trainable?: number;
  readonly predictedMemory?: number;
  readonly steps?: number;
}

/** What came of repeating a row. */
export interface ReplayRecord {
  /** `method/treatment/seed`. */
  readonly row: string;
  /** Of the run that was repeated. */
  readonly key: string;
  /** True where trained arrays and all scores were the same bytes. */
  readonly same: boolean;
  /** Of the first example that differs, counted from 0, by metric. */
  readonly firstDifference: Readonly<Record<string, number>>;
  /** SHA-256 of the trained arrays. */
  readonly weights: { readonly before: string; readonly now: string };
  /** What was not as in the run: versions, processor, threads. */
  readonly changed: readonly string[];
  /** When it ended, ISO 8601. */
  readonly date: string;
  /** What it was repeated with. */
  readonly versions: Readonly<Record<string, string>>;
}

/** All that a report shows. */
export interface StudyResult {
  readonly name: string;
  readonly question: string;
  readonly folder: string;
  readonly metric: { readonly name: string; readonly direction: 'max' | 'min' };
  /** What judged the methods; absent before the first score. */
  readonly test?: {
    readonly rows: number;
    /** True where losses are over the tokens of texts: rows have many targets, those of classes have one. */
    readonly texts: boolean;
  };
  readonly budget: Readonly<Record<string, number>>;
  readonly seeds: readonly number[];
  readonly plan: readonly PlanRow[];
  readonly progress: { readonly done: number; readonly total: number };
  /** Of tuned settings where there was tuning, else of defaults; both are in it. Best first. */
  readonly methods: readonly MethodSummary[];
  readonly comparisons: readonly Comparison[];
  /** In words: what to use, at what cost, how sure. */
  readonly verdict: {
    readonly headline: string;
    readonly details: readonly string[];
    readonly winner?: string;
    /** What stands below, smaller: which rows were repeated. */
    readonly smallPrint?: string;
  };
  /** What is not claimed, and why (too few seeds, a metric that is missing). */
  readonly caveats: readonly string[];
  /** Score of the base model before any training, where it was measured. */
  readonly baseline?: number;
  readonly curves: Readonly<Record<string, readonly Curve[]>>;
  readonly hardware: string;
  /** Of the finished rows that were repeated. */
  readonly replays?: readonly ReplayRecord[];
}
