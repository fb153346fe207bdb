/** Which of two values of a metric is the better one. */
export type Direction = 'min' | 'max';

/** The best evaluation so far. Plain data: it travels in the checkpoint. */
export interface Best {
  readonly value: number;
  /** Update after which it was measured. */
  readonly step: number;
}

/** True when `value` beats `best` by more than `minDelta` (same unit as the metric). NaN beats nothing. */
export function improves(value: number, best: Best | undefined, direction: Direction, minDelta = 0): boolean {
  if (Number.isNaN(value)) return false;
  if (!best) return true;
  return direction === 'min' ? value < best.value - minDelta : value > best.value + minDelta;
}
