import { RankineError } from '../errors.ts';
import type { Style } from './terminal/index.ts';

/** The fact alone: a RankineError's message ends with its remedy. */
export function factOf(error: RankineError): string {
  const { message, remedy } = error;
  return remedy && message.endsWith(remedy) ? message.slice(0, -remedy.length).trimEnd() : message;
}

/**
 * An error as the command line shows it. Expected ones: `error [code]: fact`, then the remedy; unexpected ones: the
 * stack and a request to report it.
 */
export function errorText(error: unknown, style: Style): string {
  if (error instanceof RankineError) {
    const head = `${style.warn(`error [${error.code}]:`)} ${factOf(error)}`;
    return error.remedy ? `${head}\n  ${error.remedy}` : head;
  }
  const stack = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return `${style.warn('unexpected error:')} ${stack}\n  This is a fault of Rankine: please report it with the lines above.`;
}

/** The same for machines, one JSON object. */
export function errorJson(error: unknown): Record<string, unknown> {
  if (error instanceof RankineError) {
    const { code, remedy } = error;
    return { type: 'error', code, message: factOf(error), ...(remedy ? { remedy } : {}) };
  }
  return { type: 'error', code: 'internal', message: error instanceof Error ? error.message : String(error) };
}
