import { join } from 'node:path';
import { writeAtomic } from '../../formats/index.ts';
import {
  buildResult,
  RESULT_FILE,
  type StudyEvent,
  type StudyResult,
  type StudyState,
} from '../../studies/index.ts';

/** What a study says while it goes on: told, and kept in its folder, after every run that was not known before. */
export interface ResultsSoFar {
  event(event: StudyEvent, state: StudyState): void;
  /** Resolves once the last one is on the disk. */
  saved(): Promise<void>;
}

export function resultsSoFar(tell: (result: StudyResult) => void): ResultsSoFar {
  // One after another: an older result must not be the last to arrive.
  let saved: Promise<void> = Promise.resolve();
  let stale = false;
  const build = (state: StudyState) => {
    stale = false;
    const result = buildResult(state);
    tell(result);
    const file = join(state.study.output, RESULT_FILE);
    saved = saved.then(() => writeAtomic(file, JSON.stringify(result)));
    // It is thrown where it is waited for.
    saved.catch(() => {});
  };
  return {
    event(event, state) {
      if (event.type !== 'run' && event.type !== 'progress') return;
      const ended = event.type === 'run' && event.run.state !== 'running';
      // Of a finished study all runs are known: comparing them once is enough, when the first new one begins.
      if (ended && event.reused) stale = true;
      else if (ended || stale) build(state);
    },
    saved: () => saved,
  };
}
