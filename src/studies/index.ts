export { type Planned, planStudy } from './budget.ts';
export { buildResult } from './build-result.ts';
export { type Answered, type ExactMatch, exactMatch } from './exact-match.ts';
export { studyMarkdown } from './markdown.ts';
export { type Method, studyMethods } from './methods.ts';
export { rowName, treatmentName } from './naming.ts';
export { openRow, type Replay, replay } from './replay.ts';
export {
  type ReplayAll,
  type ReplayAllOptions,
  type ReplayEvent,
  replayAll,
} from './replay-all.ts';
export { readReplays, withReplays } from './replays.ts';
export * from './results.ts';
export { findRow, RESULT_FILE, readResult, recommendedRow, rowFolder } from './rows.ts';
export { runStudy, type StudyEvent, type StudyHost, type StudyState } from './run-study.ts';
export { openStore, type Store } from './store.ts';
export { METRICS, parseStudy, type Study, type StudyInput, storeFile, studySchema } from './study.ts';
export { recommended } from './verdict.ts';
