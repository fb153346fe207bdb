/** Turns tokens ids to text; special tokens left out. */
export type Decode = (ids: readonly number[]) => string;

/** The text of one row while it grows. */
export interface TextStream {
  /** Takes the next token; returns the text that is now certain, without any part of a stop string. */
  push(id: number): string;
  /** The text still held back, once no more tokens come. */
  end(): string;
  /** True once a stop string came; it and what follows are not part of the text. */
  readonly stopped: boolean;
}

/** What an incomplete UTF-8 sequence decodes to. */
const REPLACEMENT = '\uFFFD';

/**
 * Decodes token by token. A character split over tokens waits for its last byte, and an end that may become a stop
 * string waits until it is one or cannot be.
 */
export function textStream(decode: Decode, stops: readonly string[]): TextStream {
  const ids: number[] = [];
  // Decoding starts at a token before the new ones: what a token reads like can depend on what it follows.
  let context = 0;
  let read = 0;
  let held = '';
  let stopped = false;

  const unread = (final: boolean): string => {
    const before = decode(ids.slice(context, read));
    const text = decode(ids.slice(context));
    if (!final && text.endsWith(REPLACEMENT)) return '';
    [context, read] = [read, ids.length];
    return text.slice(before.length);
  };

  const release = (final: boolean): string => {
    const at = firstStop(held, stops);
    stopped = at >= 0;
    const end = stopped ? at : final ? held.length : held.length - heldLength(held, stops);
    const certain = held.slice(0, end);
    held = held.slice(end);
    return certain;
  };

  return {
    push(id) {
      ids.push(id);
      held += unread(false);
      return release(false);
    },
    end() {
      if (stopped) return '';
      held += unread(true);
      return release(true);
    },
    get stopped() {
      return stopped;
    },
  };
}

/** Where the first of the stop strings begins, or −1. */
function firstStop(text: string, stops: readonly string[]): number {
  const places = stops.map((stop) => text.indexOf(stop)).filter((at) => at >= 0);
  return places.length === 0 ? -1 : Math.min(...places);
}

/** Length of the longest end of `text` that begins a stop string. */
function heldLength(text: string, stops: readonly string[]): number {
  const longest = Math.max(0, ...stops.map((stop) => stop.length - 1));
  for (let n = Math.min(longest, text.length); n > 0; n--) {
    const end = text.slice(-n);
    if (stops.some((stop) => stop.length > n && stop.startsWith(end))) return n;
  }
  return 0;
}
