import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';

/** How a study's process that the studio started stands. */
export interface Ended {
  /** Last lines that it wrote. */
  readonly log: string;
  readonly code?: number | null;
  readonly running: boolean;
}

export interface Processes {
  /** Starts `rankine compare FILE --yes`, or does nothing where the studio's own process of the study still runs. */
  start(id: string, file: string): void;
  /** Asks a process that the studio started to save and stop; false: none runs. */
  stop(id: string): boolean;
  of(id: string): Ended | undefined;
  /** Runs a command to its end and gives what it wrote. */
  ask(
    args: readonly string[],
  ): Promise<{ readonly code: number | null; readonly out: string; readonly log: string }>;
  /** Asks all that still run to save and stop, and waits for them. */
  close(): Promise<void>;
}

/** Kept of what a process wrote. */
const LOG = 4000;

/**
 * Processes of studies. Each is a group of its own: Ctrl-C at the studio's terminal reaches them through `close`, which
 * lets them save.
 *
 * @param command how `rankine` is run here, e.g. `[node, dist/cli/main.js]`
 * @param onEnd called when a study's process has ended
 */
export function studyProcesses(command: readonly string[], onEnd: (id: string) => void): Processes {
  const started = new Map<string, { child: ChildProcess; state: Ended }>();
  const isRunning = (id: string) => started.get(id)?.state.running === true;
  return {
    start(id, file) {
      if (isRunning(id)) return;
      const child = launch(command, ['compare', file, '--yes'], { detached: true });
      const entry = { child, state: { log: '', running: true } as Ended };
      started.set(id, entry);
      // Nobody reads its table, but a full pipe would stop it.
      child.stdout?.resume();
      child.stderr?.on('data', (chunk) => {
        entry.state = { ...entry.state, log: (entry.state.log + chunk).slice(-LOG) };
      });
      const end = (code: number | null, note = '') => {
        entry.state = { log: entry.state.log + note, code, running: false };
        onEnd(id);
      };
      child.on('error', (error) => end(1, error.message));
      child.on('close', (code) => isRunning(id) && end(code));
    },
    stop: (id) => isRunning(id) && started.get(id)!.child.kill('SIGINT'),
    of: (id) => started.get(id)?.state,
    async ask(args) {
      const child = launch(command, args, { detached: false });
      let [out, log] = ['', ''];
      child.stdout?.on('data', (chunk) => {
        out += chunk;
      });
      child.stderr?.on('data', (chunk) => {
        log = (log + chunk).slice(-LOG);
      });
      const [code] = await once(child, 'close');
      return { code, out, log };
    },
    async close() {
      const running = [...started.values()].filter(({ state }) => state.running);
      await Promise.all(
        running.map(async ({ child }) => {
          const closed = once(child, 'close');
          child.kill('SIGINT');
          await closed;
        }),
      );
    },
  };
}

function launch(
  [program, ...before]: readonly string[],
  args: readonly string[],
  options: { detached: boolean },
) {
  const child = spawn(program, [...before, ...args], { ...options, stdio: ['ignore', 'pipe', 'pipe'] });
  child.stdout.setEncoding('utf8');
  child.stderr.setEncoding('utf8');
  return child;
}
