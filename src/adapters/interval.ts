import { RankineError } from '../errors.ts';

/**
 * Updates between two events of a schedule: those that are asked for, else `usual`, or in a run of fewer than four times
 * that a quarter of it.
 *
 * @throws RankineError `adapters/schedule` where the run ends before the first event
 */
export function interval(form: string, every: number | undefined, usual: number, total: number): number {
  if (every === undefined) return Math.max(1, Math.min(usual, Math.floor(total / 4)));
  if (every < total) return every;
  throw new RankineError(
    'adapters/schedule',
    `${form}: the first event would come after ${every} updates, but the run has ${total}.`,
    `Set every below ${total}, or leave it out.`,
  );
}
