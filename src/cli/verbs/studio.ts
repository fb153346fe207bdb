import { type Command, InvalidArgumentError } from 'commander';
import { openStudio } from '../../studio/index.ts';
import { listenForInterrupt } from '../../training/index.ts';
import type { Verb } from '../program.ts';
import { errorText } from '../report-error.ts';
import { styleFor } from '../terminal/index.ts';

interface Options {
  readonly port: number;
  readonly json?: boolean;
}

const EXAMPLES = `
Shows the studies in the folders (default: studies) at an address of this machine that nobody else reaches, live while
they run: reports, curves as they grow, stop and resume, and a form that makes a new study in the first folder. Ctrl-C
ends it; studies that it started save and stop, and go on where they were with Resume or rankine compare. Paths in
studies are taken from the folder where the studio was started.

Examples:
  rankine studio
  rankine studio studies experiments --port 8080`;

export const studioVerb: Verb = {
  define(command: Command) {
    command
      .argument('[folders...]', 'folders with studies', ['studies'])
      .option('--port <number>', 'port of 127.0.0.1; 0: any that is free', portNumber, 4173)
      .option('--json', 'the address as one JSON object on standard output')
      .addHelpText('after', EXAMPLES)
      .action(run);
  },
};

function portNumber(text: string): number {
  const port = Number(text);
  if (Number.isInteger(port) && port >= 0 && port < 65_536) return port;
  throw new InvalidArgumentError('a port is a whole number from 0 to 65535.');
}

async function run(folders: string[], { port, json }: Options): Promise<void> {
  const studio = await openStudio({
    folders,
    port,
    command: [process.execPath, ...process.execArgv, process.argv[1]],
    onError: (error) => process.stderr.write(`${errorText(error, styleFor(process.stderr))}\n`),
  });
  process.stdout.write(json ? `${JSON.stringify({ url: studio.url })}\n` : `${studio.url}\n`);
  if (!json) process.stderr.write('Open the address in a browser; Ctrl-C ends the studio.\n');
  await interrupted();
  process.stderr.write('\nStopping; studies save first. Press Ctrl-C again to leave them to it.\n');
  await studio.close();
}

/** Resolves at the first Ctrl-C; a second one ends the process, and the studies finish saving by themselves. */
function interrupted(): Promise<void> {
  const { signal } = listenForInterrupt();
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}
