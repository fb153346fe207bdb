import type { MethodSummary, StudyResult, StudyRun } from './results.ts';

/** Name of a row that is unique in its study: method, treatment, seed. */
export function rowName({ method, purpose, seed }: StudyRun): string {
  return `${method}/${purpose}/${seed}`;
}

/** Name of a method under a treatment. */
export function treatmentName({ label, treatment }: Pick<MethodSummary, 'label' | 'treatment'>): string {
  return `${label} (${treatment})`;
}

/** Rows of a result that can be repeated and compared. */
export function finishedRuns({ methods }: Pick<StudyResult, 'methods'>): StudyRun[] {
  return methods.flatMap((m) => m.runs).filter((r) => r.state === 'done' && r.scores !== undefined);
}

/** A metric in words. */
export function metricName({ name }: Pick<StudyResult['metric'], 'name'>): string {
  return name.replaceAll('-', ' ');
}
