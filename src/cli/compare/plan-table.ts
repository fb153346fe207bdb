import type { Planned } from '../../studies/index.ts';
import { table } from '../terminal/index.ts';

/** What each method will take, and what does not fit, as lines. */
export function planTable(planned: readonly Planned[], width?: number): string[] {
  const rows = planned.map(({ row }) => [
    row.fits ? '✓' : '✗',
    row.label,
    Object.entries(row.chosen)
      .map(([key, value]) => `${key.replace('adapter.', '')} ${JSON.stringify(value)}`)
      .join(', '),
    row.trainable?.toLocaleString('en') ?? '',
    row.predictedMemory === undefined ? '' : `${Math.round(row.predictedMemory / 1e6)} MB`,
    row.reason ?? '',
  ]);
  return table(rows, {
    header: ['', 'method', 'chosen', 'trained', 'predicted peak', ''],
    align: ['left', 'left', 'left', 'right', 'right', 'left'],
    width,
  });
}
