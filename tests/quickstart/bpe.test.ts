import { readFileSync } from 'node:fs';
import { Tokenizer } from '@huggingface/tokenizers';
import { describe, expect, it } from 'vitest';
import { type Bpe, BYTE_SYMBOLS, countWords, preTokenise, trainBpe } from '../../scripts/quickstart/bpe.ts';
import { tokenizerJson } from '../../scripts/quickstart/train-bpe.ts';

const TEXT = `aaaa aaa aaaaa the theme then there, the three 1984 1985 and 1986:
  banana bananas "banana" naïve café — don't we'll\n\n\tThe end. The End; the   end`;

/** The definition, without any shortcut: every pair of every word is counted anew before every merge. */
function bruteForce(words: Map<string, number>, size: number): Pick<Bpe, 'tokens' | 'merges'> {
  const tokens = [...BYTE_SYMBOLS].sort();
  const merges: [string, string][] = [];
  let split = [...words].map(([word, count]) => ({ parts: [...word], count }));
  const rank = (token: string) => tokens.indexOf(token);
  while (tokens.length < size) {
    const counts = new Map<string, number>();
    for (const { parts, count } of split) {
      for (let i = 1; i < parts.length; i++) {
        const pair = `${parts[i - 1]} ${parts[i]}`;
        counts.set(pair, (counts.get(pair) ?? 0) + count);
      }
    }
    if (counts.size === 0) break;
    const ranks = (pair: string) => pair.split(' ').map(rank);
    const [best] = [...counts].sort(([a, m], [b, n]) => {
      const [x, y] = [ranks(a), ranks(b)];
      return n - m || x[0] - y[0] || x[1] - y[1];
    })[0];
    const [left, right] = best.split(' ');
    merges.push([left, right]);
    if (!tokens.includes(left + right)) tokens.push(left + right);
    split = split.map(({ parts, count }) => ({ parts: join(parts, left, right), count }));
  }
  return { tokens, merges };
}

function join(parts: string[], left: string, right: string): string[] {
  const at = parts.findIndex((part, i) => part === left && parts[i + 1] === right);
  return at < 0 ? parts : [...parts.slice(0, at), left + right, ...join(parts.slice(at + 2), left, right)];
}

describe('byte-level BPE training', () => {
  const words = countWords([TEXT]);

  it.each([257, 270, 300, 1000])('agrees with recounting before every merge, up to %i tokens', (size) => {
    const { tokens, merges } = trainBpe(words, size);
    expect({ tokens, merges }).toEqual(bruteForce(words, size));
  });

  it('splits digits one by one and keeps every byte', () => {
    expect(preTokenise('in 1984, é')).toEqual(['in', 'Ġ', '1', '9', '8', '4', ',', 'ĠÃ©']);
    expect(new Set(BYTE_SYMBOLS).size).toBe(256);
  });

  it('counts as many tokens as the tokenizer that it describes makes', () => {
    const bpe = trainBpe(words, 300);
    const tokenizer = new Tokenizer(tokenizerJson(bpe), {});
    expect(tokenizer.encode(TEXT, { add_special_tokens: false }).ids).toHaveLength(bpe.length);
  });
});

describe('the shipped tokenizer', () => {
  const read = (name: string) =>
    JSON.parse(readFileSync(new URL(`../../quickstart/base/${name}`, import.meta.url), 'utf8'));
  const tokenizer = new Tokenizer(read('tokenizer.json'), read('tokenizer_config.json'));
  const golden = JSON.parse(
    readFileSync(new URL('../golden/quickstart/token-ids.json', import.meta.url), 'utf8'),
  ) as { text: string; ids: number[] }[];

  it.each(golden)('gives the ids of transformers for $text', ({ text, ids }) => {
    expect(tokenizer.encode(text).ids).toEqual(ids);
    expect(tokenizer.decode(ids, { skip_special_tokens: true })).toBe(text);
  });
});
