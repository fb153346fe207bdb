import { readFileSync } from 'node:fs';

/**
 * When a process began, as the system counts it (Linux: clock ticks since boot, with the boot's id); undefined where
 * it cannot be told. Process ids are given out again, a pair of id and start never.
 */
export function processStart(pid: number): string | undefined {
  if (process.platform !== 'linux') return undefined;
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name, field 2, stands in brackets and may hold spaces: count from its end. The start is field 22.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (fields[0] === 'Z') return undefined; // It has ended and only waits for its parent to notice.
    const ticks = fields[19];
    return `${readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()}/${ticks}`;
  } catch {
    return undefined; // The process has ended, or /proc is hidden.
  }
}
