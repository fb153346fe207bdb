/** What an interruption needs of `process`; tests pass their own. */
export interface SignalSource {
  on(signal: NodeJS.Signals, listener: (signal: NodeJS.Signals) => void): unknown;
  off(signal: NodeJS.Signals, listener: (signal: NodeJS.Signals) => void): unknown;
  exit(code: number): void;
}

export interface InterruptOptions {
  /** Called once, at the first signal: the place to say "saving; press Ctrl-C again to stop at once". */
  readonly onFirst?: (signal: NodeJS.Signals) => void;
  /** Called right before the exit at the second signal: the place to give the terminal back. */
  readonly onSecond?: () => void;
  readonly source?: SignalSource;
}

export interface Interruption {
  /** Aborted at the first signal; the run then finishes its update, saves and stops. `reason` is the signal's name. */
  readonly signal: AbortSignal;
  /** Puts the signals back as they were. */
  dispose(): void;
}

const SIGNALS: readonly NodeJS.Signals[] = ['SIGINT', 'SIGTERM'];
const EXIT_INTERRUPTED = 130;

/**
 * Listens for Ctrl-C (SIGINT) and SIGTERM: the first asks for save-and-stop, the second ends the process at once with
 * code 130. The listener runs on the main thread, which must stay free of long work (updates run in a worker).
 */
export function listenForInterrupt(options: InterruptOptions = {}): Interruption {
  const { source = process, onFirst, onSecond } = options;
  const controller = new AbortController();
  const listener = (signal: NodeJS.Signals): void => {
    if (controller.signal.aborted) {
      onSecond?.();
      source.exit(EXIT_INTERRUPTED);
      return;
    }
    controller.abort(signal);
    onFirst?.(signal);
  };
  for (const signal of SIGNALS) source.on(signal, listener);
  return {
    signal: controller.signal,
    dispose() {
      for (const signal of SIGNALS) source.off(signal, listener);
    },
  };
}
