import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { textStream } from './stop-text.ts';

/** A byte-level tokenizer: token = byte. */
const decode = (ids: readonly number[]) => new TextDecoder().decode(Uint8Array.from(ids));
const encode = (text: string) => [...new TextEncoder().encode(text)];

function pieces(text: string, stops: string[] = []): string[] {
  const stream = textStream(decode, stops);
  const out: string[] = [];
  for (const id of encode(text)) {
    out.push(stream.push(id));
    if (stream.stopped) break;
  }
  out.push(stream.end());
  return out;
}

describe('textStream', () => {
  it('waits for all bytes of a character', () => {
    expect(pieces('aé€😀')).toEqual(['a', '', 'é', '', '', '€', '', '', '', '😀', '']);
  });

  it('shows an incomplete character at the end only', () => {
    const stream = textStream(decode, []);
    expect(stream.push(encode('é')[0])).toBe('');
    expect(stream.end()).toBe('\uFFFD');
  });

  it('holds back what may become a stop string', () => {
    expect(pieces('a\n\nb', ['\n\nb'])).toEqual(['a', '', '', '', '']);
    expect(pieces('a\n\nc', ['\n\nb'])).toEqual(['a', '', '', '\n\nc', '']);
    expect(pieces('xaab', ['ab'])).toEqual(['x', '', 'a', '', '']);
  });

  it('gives the held end where no more comes', () => {
    expect(pieces('one <', ['</s>']).join('')).toBe('one <');
  });

  it('ends at the first of several stop strings within one token', () => {
    const stream = textStream(
      (ids) => ids.map((id) => ['start', ' one END two STOP'][id]).join(''),
      ['STOP', 'END'],
    );
    expect(stream.push(0)).toBe('start');
    expect(stream.push(1)).toBe(' one ');
    expect(stream.stopped).toBe(true);
    expect(stream.end()).toBe('');
  });

  it('decodes in context, where a tokenizer drops the first space', () => {
    const words = ['▁Hello', '▁there', 'fore'];
    const stream = textStream(
      (ids) =>
        ids
          .map((id) => words[id])
          .join('')
          .replaceAll('▁', ' ')
          .trimStart(),
      [],
    );
    expect([0, 1, 2].map((id) => stream.push(id)).join('')).toBe('Hello therefore');
  });

  it('yields the text up to the stop string, for any text', () => {
    const short = fc.string({ unit: fc.constantFrom('a', 'b', 'é', '😀'), minLength: 1, maxLength: 3 });
    const text = fc.string({ unit: fc.constantFrom('a', 'b', 'é', '😀'), maxLength: 30 });
    fc.assert(
      fc.property(text, fc.array(short, { maxLength: 3 }), (t, stops) => {
        // The text ends when the first stop string is complete; the earliest begin wins among those complete.
        let end = t.length;
        for (let n = 1; n <= t.length; n++) {
          const found = stops.map((s) => t.slice(0, n).indexOf(s)).filter((at) => at >= 0);
          if (found.length > 0) {
            end = Math.min(...found);
            break;
          }
        }
        expect(pieces(t, stops).join('')).toBe(t.slice(0, end));
      }),
    );
  });
});
