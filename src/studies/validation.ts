import type { Curve } from './results.ts';

/**
 * 1 where less is better of a run's value on the validation data, −1 where more is: it is the accuracy where there are
 * classes, else the loss, whatever the study's own metric.
 * @param curves of any finished run of the study
 */
export function validationSign(curves: readonly Curve[] | undefined): 1 | -1 {
  return curves?.some(({ name }) => name === 'eval/accuracy') ? -1 : 1;
}
