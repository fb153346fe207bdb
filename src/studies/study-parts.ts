import type { TrainEvent } from '../training/index.ts';
import type { ContentHasher } from './key.ts';
import type { Curve, StudyRun } from './results.ts';
import type { StudyHost } from './run-study.ts';
import type { Scored, ScoreTask } from './score.ts';
import type { Store } from './store.ts';
import type { Study } from './study.ts';

/** What the stages of a study share. */
export interface StudyParts {
  readonly study: Study;
  readonly store: Store;
  readonly host: StudyHost;
  readonly hasher: ContentHasher;
  readonly judged: ScoreTask;
  /** Scores of the untrained base, where it has some. */
  base(): Scored | undefined;
  record(run: StudyRun, reused?: boolean): void;
  progress(run: StudyRun, event: TrainEvent): void;
  readonly curves: Map<string, readonly Curve[]>;
}
