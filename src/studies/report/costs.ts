import type { MethodSummary, StudyResult } from '../results.ts';
import { shortCount } from './format.ts';
import { decimals } from './scale.ts';
import type { View } from './view.ts';

/** What a method costs: one horizontal axis of the picture. */
export interface Cost {
  readonly id: 'trainable' | 'memory' | 'time';
  readonly title: string;
  of(summary: MethodSummary): number | undefined;
  /** Unit of an axis that reaches so far. */
  unit(highest: number): Unit;
  readonly limit?: number;
}

export interface Unit {
  /** Absent where numbers are counted. */
  readonly name?: string;
  readonly size: number;
}

/** Costs that were measured of two methods at least. */
export function costsOf(view: View): Cost[] {
  return allCosts(view.result).filter((cost) => spentOf(view, cost).length > 1);
}

function allCosts({ budget }: StudyResult): Cost[] {
  return [
    {
      ...{ id: 'memory', title: 'peak memory', limit: budget.memory },
      of: (m) => m.peakMemory,
      unit: (highest) => largest(highest, MEMORY),
    },
    {
      ...{ id: 'time', title: 'computing time of a run' },
      of: (m) => m.seconds,
      unit: (highest) => largest(highest, TIME),
    },
    {
      ...{ id: 'trainable', title: 'trained numbers', limit: budget.trainable },
      of: (m) => m.trainable,
      unit: () => ({ size: 1 }),
    },
  ];
}

const MEMORY: readonly Unit[] = [
  { name: 'GB', size: 1e9 },
  { name: 'MB', size: 1e6 },
  { name: 'kB', size: 1e3 },
];
const TIME: readonly Unit[] = [
  { name: 'hours', size: 3600 },
  { name: 'minutes', size: 60 },
  { name: 'seconds', size: 1 },
];

/** The largest unit of which the axis reaches a few; else the smallest. */
function largest(highest: number, units: readonly Unit[]): Unit {
  return units.find(({ size }) => highest >= 3 * size) ?? units[units.length - 1];
}

/** Costs on an axis in its unit, with the decimals that its ticks need: `460`, `1.5`, `370k`. */
export function costTicks(ticks: readonly number[], { name, size }: Unit): (value: number) => string {
  const digits = decimals(ticks.map((t) => t / size));
  return name === undefined ? shortCount : (value) => (value / size).toFixed(digits);
}

/** The first cost in which methods differ: all spend the same of the budget itself. */
export function firstCost(view: View, costs: readonly Cost[]): Cost {
  const spread = (cost: Cost) => {
    const values = spentOf(view, cost);
    return Math.max(...values) / Math.min(...values);
  };
  return costs.find((cost) => spread(cost) > 1.1) ?? costs[0];
}

function spentOf({ entries }: View, cost: Cost): number[] {
  return entries
    .filter(({ summary }) => summary.mean !== undefined)
    .map(({ summary }) => cost.of(summary))
    .filter((x) => x !== undefined && x > 0) as number[];
}
