import { fork } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Measured } from './results.ts';
import type { ChildMessage, ChildTask } from './run-process.ts';

/** How a run's process ended. */
export type Outcome<T> =
  | { readonly kind: 'done'; readonly value: T; readonly measured: Measured }
  | { readonly kind: 'failed'; readonly code: string; readonly reason: string }
  | { readonly kind: 'out-of-memory'; readonly reason: string };

export interface ProcessOptions {
  /** Bytes of resident memory beyond which the process is ended. */
  readonly memoryCap?: number;
  readonly onEvent?: (event: unknown) => void;
  /** Told many times a second what the process has taken so far. */
  readonly onMeasured?: (measured: Measured) => void;
  /** Asks the process to save and stop. */
  readonly signal?: AbortSignal;
}

const POLL = 50;

/** Runs a task in a process of its own and measures it from here: no run sees another's memory or time. */
export function runProcess<T>(task: ChildTask, options: ProcessOptions = {}): Promise<Outcome<T>> {
  const entry = new URL(`./run-process.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`, import.meta.url);
  const execArgv = entry.pathname.endsWith('.ts') ? ['--import', 'tsx'] : [];
  const started = performance.now();
  const killsBefore = memoryKills();
  // A group of its own: Ctrl-C at the terminal reaches the study, which asks its runs to stop.
  const child = fork(entry, { execArgv, detached: true, stdio: ['ignore', 'ignore', 'pipe', 'ipc'] });
  let [stderr, peak, over] = ['', 0, false];
  let processor = 0;
  const taken = (own: { peakMemory: number; processor: number }): Measured => ({
    peakMemory: peak || own.peakMemory,
    wall: (performance.now() - started) / 1000,
    processor: processor || own.processor,
  });
  const measure = () => {
    const now = readProcess(child.pid);
    peak = Math.max(peak, now?.peak ?? 0);
    processor = now?.processor ?? processor;
    options.onMeasured?.(taken({ peakMemory: 0, processor: 0 }));
    if (options.memoryCap === undefined || over || (now?.resident ?? 0) <= options.memoryCap) return;
    over = true;
    child.kill('SIGKILL');
  };
  const timer = setInterval(measure, POLL);
  const stop = () => child.connected && child.send('stop');
  options.signal?.addEventListener('abort', stop, { once: true });
  child.stderr?.on('data', (chunk) => {
    stderr = (stderr + chunk).slice(-4000);
  });
  let result: Outcome<T> | undefined;
  child.on('message', (message: ChildMessage) => {
    if (message.type === 'event') options.onEvent?.(message.event);
    else if (message.type === 'error')
      result = { kind: 'failed', code: message.code, reason: message.message };
    else {
      measure();
      result = { kind: 'done', value: message.value as T, measured: taken(message.own) };
      // It waits for this, so that what /proc tells of it could be read.
      child.send('read');
    }
  });
  if (options.signal?.aborted) stop();
  child.send(task);
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', (code, signal) => {
      clearInterval(timer);
      options.signal?.removeEventListener('abort', stop);
      const starved = memoryKills() > killsBefore;
      resolve(result ?? unreported({ code, signal, over, starved, stderr, cap: options.memoryCap }));
    });
  });
}

/** How often, and at what distance in milliseconds, a folder that is in use is tried again. */
const PATIENCE = { times: 60, every: 500 };

/** Waits for the run of a study that was killed to save and let go of its folder. */
export async function onceUnlocked<T>(attempt: () => Promise<Outcome<T>>): Promise<Outcome<T>> {
  let outcome = await attempt();
  const isLocked = () => outcome.kind === 'failed' && outcome.code === 'training/folder-locked';
  for (let tried = 0; isLocked() && tried < PATIENCE.times; tried++) {
    await sleep(PATIENCE.every);
    outcome = await attempt();
  }
  return outcome;
}

interface Unreported {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** Ended from here, at the cap. */
  readonly over: boolean;
  /** The system has ended a process for want of memory since. */
  readonly starved: boolean;
  readonly stderr: string;
  readonly cap: number | undefined;
}

/** What an end without a message means. */
function unreported({ code, signal, over, starved, stderr, cap }: Unreported): Outcome<never> {
  if (over)
    return { kind: 'out-of-memory', reason: `It took more than the cap of ${Math.round(cap! / 1e6)} MB.` };
  if (signal === 'SIGKILL' && starved)
    return { kind: 'out-of-memory', reason: 'The system killed it, as it does when memory runs out.' };
  if (/heap out of memory|bad_alloc|Failed to allocate memory/.test(stderr))
    return { kind: 'out-of-memory', reason: 'An allocation failed.' };
  const last = stderr.trim().split('\n').at(-1) ?? '';
  return {
    kind: 'failed',
    code: 'studies/crashed',
    reason: `Its process ended with ${signal ?? `code ${code}`}. ${last}`.trim(),
  };
}

/** Linux: from /proc. Elsewhere undefined: the process then reports its own counters. */
function readProcess(
  pid: number | undefined,
): { resident: number; peak: number; processor: number } | undefined {
  if (process.platform !== 'linux' || pid === undefined) return undefined;
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    const kilobytes = (field: string) =>
      Number(new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(status)?.[1] ?? 0);
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    // Ticks of user and system time; Linux counts 100 a second for user space.
    const processor = (Number(fields[11]) + Number(fields[12])) / 100;
    return { resident: kilobytes('VmRSS') * 1024, peak: kilobytes('VmHWM') * 1024, processor };
  } catch {
    return undefined;
  }
}

/** Linux: processes that the system has ended for want of memory since it started; elsewhere it does not say. */
function memoryKills(): number {
  if (process.platform !== 'linux') return 0;
  try {
    return Number(/^oom_kill (\d+)$/m.exec(readFileSync('/proc/vmstat', 'utf8'))?.[1] ?? 0);
  } catch {
    return 0;
  }
}
