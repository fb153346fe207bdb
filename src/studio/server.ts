import { randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { RankineError } from '../errors.ts';
import { type Actions, studioActions } from './actions.ts';
import { studyEvents } from './events.ts';
import { HEADERS, refusal } from './guard.ts';
import { errorPage } from './pages.ts';
import { studyProcesses } from './processes.ts';

export interface StudioOptions {
  /** Folders with studies; new ones are written to the first. */
  readonly folders: readonly string[];
  /** 0: any that is free. */
  readonly port: number;
  /** How `rankine` is run here, e.g. `[node, dist/cli/main.js]`. */
  readonly command: readonly string[];
  /** Told of a request that failed through a fault of ours. */
  readonly onError?: (error: unknown) => void;
}

export interface Studio {
  readonly url: string;
  /** Asks the studies that it started to save and stop, waits for them, and lets go of the port. */
  close(): Promise<void>;
}

/**
 * Serves studies on 127.0.0.1, and only there: pages, their parts, events, and what buttons ask for.
 *
 * @throws RankineError `studio/port-in-use`, `studio/cannot-listen`
 */
export async function openStudio({ folders, port, command, onError }: StudioOptions): Promise<Studio> {
  const token = randomBytes(24).toString('base64url');
  const processes = studyProcesses(command, () => events.look());
  const actions = studioActions({ folders, token, processes });
  const events = studyEvents(actions.marks);
  const server = createServer((request, response) => {
    const { port: own } = server.address() as AddressInfo;
    answer(request, response, { ...actions, listen: events.listen, look: events.look }, own, token).catch(
      (error) => {
        onError?.(error);
        send(response, 500, 'text/plain', 'This is a fault of Rankine: the terminal has the details.');
      },
    );
  });
  await listen(server, port);
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    async close() {
      events.close();
      server.close();
      await processes.close();
      server.closeAllConnections();
    },
  };
}

function listen(server: Server, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const isTaken = cause.code === 'EADDRINUSE';
      reject(
        new RankineError(
          isTaken ? 'studio/port-in-use' : 'studio/cannot-listen',
          `The studio cannot listen on 127.0.0.1:${port}: ${isTaken ? 'another program does' : cause.message}.`,
          'Choose another port with --port, or --port 0 for any that is free.',
          { cause },
        ),
      );
    });
    server.listen(port, '127.0.0.1', resolve);
  });
}

type Served = Actions & {
  listen(response: ServerResponse, study?: string): void;
  look(): void;
};

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  actions: Served,
  port: number,
  token: string,
): Promise<void> {
  const refused = refusal(request, port, token);
  if (refused) return send(response, refused.status, 'text/plain', refused.message);
  const [pathname, query] = (request.url ?? '/').split('?');
  const [, head, id, part] = pathname.split('/');
  if (request.method === 'POST') {
    const reply = await actions.post(pathname, () => readBody(request));
    actions.look();
    return send(response, reply.status, 'application/json', JSON.stringify(reply.content));
  }
  if (request.method !== 'GET') return send(response, 405, 'text/plain', 'GET or POST.');
  if (pathname === '/events')
    return actions.listen(response, new URLSearchParams(query).get('study') ?? undefined);
  const text = await actions.get(head ?? '', id, part);
  if (text !== undefined) return send(response, 200, 'text/html', text);
  send(response, 404, 'text/html', errorPage(404, 'There is no such page.'));
}

function send(response: ServerResponse, status: number, type: string, text: string): void {
  if (response.headersSent) {
    response.end();
    return;
  }
  response.writeHead(status, { ...HEADERS, 'content-type': `${type}; charset=utf-8` });
  response.end(text);
}

/** No form is larger. */
const MOST = 256 * 1024;

/** @throws RankineError `studio/too-large`, `studio/not-json` */
async function readBody(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size > MOST) throw new RankineError('studio/too-large', `The request is larger than ${MOST} bytes.`);
    chunks.push(chunk);
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8') || '{}');
  } catch (cause) {
    throw new RankineError('studio/not-json', 'The request is no JSON.', undefined, { cause });
  }
}
