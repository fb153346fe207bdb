import type { ServerResponse } from 'node:http';

/** What pages are told to fetch again. */
export type Marks = Readonly<Record<string, string>>;

interface Listener {
  readonly response: ServerResponse;
  readonly study?: string;
  marks?: Marks;
}

export interface Events {
  /** Keeps a response open and tells it, by name, which parts of its study (or of the list) have changed. */
  listen(response: ServerResponse, study?: string): void;
  /** Looks at once instead of at the next turn. */
  look(): void;
  close(): void;
}

/** Often enough to watch a curve grow; looking costs some file times for each page that is open. */
const EVERY = 1000;

/**
 * Server-sent events from looking at files: whoever runs the study, here or at a terminal, its files tell.
 *
 * @param marks what a study's parts (or the list's) are like now; a part whose mark changed is sent by its name
 */
export function studyEvents(marks: (study?: string) => Promise<Marks>): Events {
  const listeners = new Set<Listener>();
  let timer: NodeJS.Timeout | undefined;
  let looking = false;
  async function look(): Promise<void> {
    if (looking) return;
    looking = true;
    try {
      for (const listener of listeners) tell(listener, await marks(listener.study));
    } finally {
      looking = false;
    }
  }
  // A file that vanished between two looks is looked at again at the next turn.
  const turn = () => void look().catch(() => undefined);
  return {
    listen(response, study) {
      response.writeHead(200, { 'content-type': 'text/event-stream', connection: 'keep-alive' });
      response.write('retry: 1000\n\n');
      const listener: Listener = { response, study };
      listeners.add(listener);
      response.on('close', () => {
        listeners.delete(listener);
        if (listeners.size === 0) clearInterval(timer);
      });
      if (listeners.size === 1) timer = setInterval(turn, EVERY);
      turn();
    },
    look: turn,
    close() {
      clearInterval(timer);
      for (const { response } of listeners) response.end();
    },
  };
}

function tell(listener: Listener, now: Marks): void {
  const before = listener.marks;
  listener.marks = now;
  // The first look is at what the page shows already, or nearly: one fetch too many does no harm, one too few would.
  const changed = Object.keys(now).filter((part) => before === undefined || before[part] !== now[part]);
  for (const part of changed) listener.response.write(`event: ${part}\ndata: ${now[part]}\n\n`);
}
