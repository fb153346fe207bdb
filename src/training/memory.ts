import { readFileSync } from 'node:fs';

/** Resident memory of this process, in bytes. */
export interface ResidentMemory {
  readonly now: number;
  /** Highest since the process began (or since `VmHWM` was reset from outside). */
  readonly peak: number;
}

/** Linux: `VmRSS` and `VmHWM` of /proc/self/status; elsewhere Node's own counters. */
export function residentMemory(): ResidentMemory {
  const status = readStatus();
  const now = kibibytes(status, 'VmRSS') ?? process.memoryUsage.rss();
  const peak = kibibytes(status, 'VmHWM') ?? process.resourceUsage().maxRSS * 1024;
  return { now, peak: Math.max(now, peak) };
}

function readStatus(): string {
  if (process.platform !== 'linux') return '';
  try {
    return readFileSync('/proc/self/status', 'utf8');
  } catch {
    return ''; // A container may hide /proc; Node's counters then do.
  }
}

function kibibytes(status: string, field: string): number | undefined {
  const found = new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(status);
  return found ? Number(found[1]) * 1024 : undefined;
}
