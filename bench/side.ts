import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';

/** One of those that take turns. */
export interface Side {
  /**
   * One whole update; milliseconds.
   * @param at its number, counted from 1 (default: the next one); schedules and refreshes go by it
   */
  update(at?: number): Promise<number>;
}

/** A side in a process of its own, which waits between updates. */
export interface ProcessSide extends Side {
  /** What the process answers to a line. */
  ask(line: string): Promise<string>;
  /** Highest resident memory so far, in bytes, as the system tells of the process; undefined where it does not. */
  peak(): number | undefined;
  /** Ends the process; its memory is free afterwards. */
  end(): Promise<void>;
}

/**
 * Starts a process that reads a line for every update, the update's number, and answers with its milliseconds.
 * What the process says when it fails is in the error of the update that it did not answer.
 */
export function processSide(command: string, args: readonly string[]): ProcessSide {
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'] });
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  let complaint = '';
  child.once('error', (error) => {
    complaint = error.message;
  });
  child.stderr.on('data', (chunk) => {
    complaint = (complaint + chunk).slice(-4000);
  });
  // A process that has ended takes no more lines: the missing answer tells.
  child.stdin.on('error', () => {});
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  let next = 1;
  const ask = async (line: string) => {
    child.stdin.write(`${line}\n`);
    const { value, done } = await lines.next();
    if (!done) return value;
    await ended;
    throw new Error(`${command} ${args[0]} ended early: ${reasonIn(complaint)}`);
  };
  return {
    ask,
    async update(at = next) {
      next = at + 1;
      return Number(await ask(`${at}`));
    },
    peak: () => peakOf(child.pid),
    async end() {
      child.stdin.end();
      await ended;
    },
  };
}

/** Of what a process wrote to stderr, the line that says why: Node adds its version after it. */
function reasonIn(complaint: string): string | undefined {
  const lines = complaint.trim().split('\n');
  return lines.findLast((line) => /error/i.test(line)) ?? lines.at(-1);
}

/** Linux: from /proc. */
function peakOf(pid: number | undefined): number | undefined {
  if (process.platform !== 'linux' || pid === undefined) return undefined;
  const found = /^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return found ? Number(found[1]) * 1024 : undefined;
}
