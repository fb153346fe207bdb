import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { vi } from 'vitest';
import { runCommandLine } from '../src/cli/program.ts';

export interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly error: string;
}

/** Runs a command line of `rankine` in this process. */
export async function rankine(...args: string[]): Promise<Outcome> {
  const texts = { out: '', error: '' };
  const collect = (stream: NodeJS.WriteStream, name: keyof typeof texts) =>
    vi.spyOn(stream, 'write').mockImplementation((chunk) => {
      texts[name] += String(chunk);
      return true;
    });
  const spies = [collect(process.stdout, 'out'), collect(process.stderr, 'error')];
  process.exitCode = undefined;
  try {
    await runCommandLine(args);
    return { code: Number(process.exitCode ?? 0), ...texts };
  } finally {
    process.exitCode = undefined;
    for (const spy of spies) spy.mockRestore();
  }
}

/** The same, failing where the command fails. */
export async function succeed(...args: string[]): Promise<string> {
  const { code, out, error } = await rankine(...args);
  if (code !== 0) throw new Error(`rankine ${args.join(' ')}: exit code ${code}\n${error}`);
  return out;
}

const MAIN = new URL('../src/cli/main.ts', import.meta.url).pathname;

/** `rankine` as a process of its own, to be killed. */
export function startRankine(...args: string[]): RankineProcess {
  const child = spawn(process.execPath, ['--import', 'tsx', MAIN, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>;
  const lines = createInterface(child.stdout);
  return {
    child,
    ended,
    until: (text) =>
      new Promise((resolve, reject) => {
        lines.on('line', (line) => line.includes(text) && resolve());
        ended.then(([code]) => reject(new Error(`ended with code ${code} before it wrote ${text}`)));
      }),
  };
}

export interface RankineProcess {
  readonly child: ChildProcessByStdio<null, Readable, null>;
  readonly ended: Promise<[code: number | null, signal: NodeJS.Signals | null]>;
  /** Resolves at the first line of output that contains the text. */
  until(text: string): Promise<void>;
}
