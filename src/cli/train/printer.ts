import { residentMemory, type TrainEvent, type TrainResult } from '../../training/index.ts';
import type { Recipe } from '../../training/recipe.ts';
import { canRedraw, openDisplay, type RunDisplay, styleFor } from '../terminal/index.ts';
import { endMessage } from './end-message.ts';

/** Tells a run's events to a person or to a machine. */
export interface Printer {
  event(event: TrainEvent): void;
  result(result: TrainResult): void;
  /** The first Ctrl-C came. */
  interrupted(): void;
  /** Gives the terminal back: the run ends here. */
  abandon(): void;
}

export interface PrinterOptions {
  /** JSON lines instead of a display. */
  readonly json?: boolean;
  /** Where a finished run ends, say where the result is and what to try next. Default true. */
  readonly ending?: boolean;
}

export function printer(recipe: Recipe, { json = false, ending = true }: PrinterOptions = {}): Printer {
  return json ? jsonPrinter() : displayPrinter(recipe, ending);
}

/** One JSON object a line; the last one has the type `result`. */
function jsonPrinter(): Printer {
  const write = (value: unknown) => void process.stdout.write(`${JSON.stringify(value)}\n`);
  return {
    event: write,
    result: (result) => write({ type: 'result', ...result }),
    interrupted: () => write({ type: 'notice', text: 'Saving; interrupt again to stop at once.' }),
    abandon: () => {},
  };
}

function displayPrinter(recipe: Recipe, ending: boolean): Printer {
  const stream = process.stdout;
  const redraws = canRedraw(stream);
  const started = performance.now();
  let display: RunDisplay | undefined;
  const print = (text: string) => (display ? display.print(text) : void stream.write(`${text}\n`));
  const status = (text: string) => display?.status(text);
  let total = 0;

  const events: { [Type in TrainEvent['type']]: (event: Extract<TrainEvent, { type: Type }>) => void } = {
    notice: ({ text }) => print(text),
    start(event) {
      total = event.total;
      display = openDisplay({ title: titleOf(recipe, event), total });
      if (event.from > 0) display.print(`Going on from step ${event.from}.`);
    },
    step({ step, memory, ...numbers }) {
      status('training');
      // A plain log gets a line now and then; a curve wants every step.
      if (!redraws && step % recipe.logEvery !== 0 && step !== 1 && step !== total) return;
      const peak = residentMemory().peak;
      const secondsPassed = (performance.now() - started) / 1000;
      display?.logged({ step, ...numbers, memory: { now: memory, peak }, secondsPassed });
    },
    evaluation({ step, best, loss, accuracy }) {
      const judged: Record<string, number> =
        accuracy === undefined ? { perplexity: Math.exp(loss) } : { accuracy };
      const values = { 'validation loss': loss, ...judged };
      display?.evaluated({ step, values, best });
    },
    checkpoint: ({ step }) => status(`saved step ${step}`),
    stopped: ({ step, reason }) =>
      print(reason === 'patience' ? `No improvement: stopped at step ${step}.` : `Saved step ${step}.`),
  };

  return {
    event: (event) => events[event.type](event as never),
    result(result) {
      display?.end(result.finished ? 'done' : 'interrupted');
      if (result.finished && !ending) return;
      stream.write(`${endMessage(recipe, result, styleFor(stream)).join('\n')}\n`);
    },
    interrupted() {
      status('saving');
      print('Finishing the update, then saving. Press Ctrl-C again to stop at once.');
    },
    abandon: () => display?.end('stopped'),
  };
}

function titleOf(recipe: Recipe, start: Extract<TrainEvent, { type: 'start' }>): string {
  const share = ((100 * start.trainable) / start.parameters).toFixed(
    start.trainable < start.parameters ? 2 : 0,
  );
  const on = start.layers > 0 ? ` on ${start.layers} layers` : '';
  return `${recipe.model.path}: ${recipe.adapter.method}${on}, ${start.trainable.toLocaleString('en')} weights trained (${share} %)`;
}
