import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { exists, writeAtomic } from '../formats/index.ts';
import { runPaths } from '../training/index.ts';
import type { Measured } from './results.ts';

/** What a run has taken over all its processes: one that is killed and goes on is charged for both. */
export interface Spent {
  /** Keeps what the process under way has taken so far, every few seconds. */
  readonly note: (measured: Measured) => void;
  /** The sum with what this process took in the end. */
  close(measured: Measured): Promise<Measured>;
}

const EVERY_SECONDS = 2;

/** Opens the account of the run in a folder; it is empty where no run has started there. */
export async function openSpent(folder: string): Promise<Spent> {
  const file = join(folder, 'spent.json');
  const before = (await exists(runPaths(folder).recipe)) ? await read(file) : undefined;
  let writing: Promise<void> = Promise.resolve();
  let written = 0;
  const write = (measured: Measured): Measured => {
    const all = before ? sum(before, measured) : measured;
    writing = writing.then(() => writeAtomic(file, JSON.stringify(all)));
    // It is thrown where it is waited for: in close.
    writing.catch(() => {});
    return all;
  };
  return {
    note(measured) {
      if (measured.wall - written < EVERY_SECONDS) return;
      written = measured.wall;
      write(measured);
    },
    async close(measured) {
      const all = write(measured);
      await writing;
      return all;
    },
  };
}

async function read(file: string): Promise<Measured | undefined> {
  if (!(await exists(file))) return undefined;
  return JSON.parse(await readFile(file, 'utf8'));
}

function sum(a: Measured, b: Measured): Measured {
  return {
    peakMemory: Math.max(a.peakMemory, b.peakMemory),
    wall: a.wall + b.wall,
    processor: a.processor + b.processor,
  };
}
