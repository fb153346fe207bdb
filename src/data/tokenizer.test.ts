import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { readMaybeGzip, realData } from '../../tests/data.ts';
import { loadTokenizer } from './tokenizer.ts';

interface Recorded {
  text: string;
  ids: number[];
  special: number[];
  decoded: string;
  skipped: string;
}

interface RecordedPair {
  a: string;
  b: string;
  ids: number[];
  types: number[];
  length: number;
  cut: number[];
  cutTypes: number[];
}

const golden = new URL('../../tests/golden/data/', import.meta.url).pathname;
const recorded: Record<string, { rows: Recorded[]; pairs?: RecordedPair[] }> = JSON.parse(
  await readFile(join(golden, 'tokenizers.json'), 'utf8'),
);
const temporary = await mkdtemp(join(tmpdir(), 'rankine-tokenizer-'));
afterAll(() => rm(temporary, { recursive: true }));

/** A folder as older checkpoints have it, from real vocabularies. */
async function legacyFolder(files: Record<string, string>): Promise<string | undefined> {
  const folder = await mkdtemp(join(temporary, 'legacy-'));
  for (const [name, source] of Object.entries(files)) {
    const path = realData(source);
    if (!path) return undefined;
    await writeFile(join(folder, name), readMaybeGzip(path));
  }
  return folder;
}

const folders: Record<string, string | undefined> = {
  gpt2: await legacyFolder({
    'vocab.json': 'tok/gpt2.encoder.json.gz',
    'merges.txt': 'tok/gpt2.vocab.bpe.gz',
  }),
  bert: await legacyFolder({ 'vocab.txt': 'tok/bert.vocab.txt.gz' }),
  llama: join(golden, 'llama-style'),
};

for (const [name, { rows, pairs }] of Object.entries(recorded)) {
  const folder = folders[name];
  describe.skipIf(!folder)(`${name} against Python tokenizers`, async () => {
    if (!folder) return;
    const tokenizer = await loadTokenizer(folder);

    it.each(rows)('$text', ({ text, ids, special, decoded, skipped }) => {
      expect([...tokenizer.encode(text, { addSpecialTokens: false }).ids]).toEqual(ids);
      expect([...tokenizer.encode(text).ids]).toEqual(special);
      expect(tokenizer.decode(special)).toBe(decoded);
      expect(tokenizer.decode(special, { skipSpecialTokens: true })).toBe(skipped);
    });

    it.each(pairs ?? [])('the pair $a | $b, whole and cut', (row) => {
      const whole = tokenizer.encode(row.a, { pair: row.b });
      expect([[...whole.ids], [...whole.typeIds]]).toEqual([row.ids, row.types]);
      const options = { pair: row.b.repeat(3), maxLength: row.length };
      const cut = tokenizer.encode(row.a.repeat(5), options);
      expect([[...cut.ids], [...cut.typeIds]]).toEqual([row.cut, row.cutTypes]);
    });

    it('puts a token boundary between pieces, and loses nothing', () => {
      for (const { text } of rows) {
        // A boundary inside a special token takes it apart, and BERT's words swallow spaces.
        if (name === 'bert' || /<s>|<\|/.test(text)) continue;
        for (const at of [1, 3, 7]) {
          const points = [...text];
          const pieces = [points.slice(0, at).join(''), points.slice(at).join('')];
          const [left, right] = tokenizer.encodePieces(pieces);
          expect([...left]).toEqual([...tokenizer.encode(pieces[0], { addSpecialTokens: false }).ids]);
          const back = tokenizer.decode([...left, ...right]);
          expect(back).toBe(
            tokenizer.decode(tokenizer.encode(pieces.join(''), { addSpecialTokens: false }).ids),
          );
        }
      }
    });
  });
}

it('knows the special tokens and the size', async () => {
  const llama = await loadTokenizer(folders.llama as string);
  expect(llama.special).toEqual({ bos: 1, eos: 2, pad: 2, unk: 0 });
  expect(llama.size).toBe(420);
  expect(llama.around).toEqual({ before: [1], after: [] });
  if (folders.gpt2) {
    const gpt2 = await loadTokenizer(folders.gpt2);
    expect(gpt2.special).toEqual({ bos: 50256, eos: 50256, pad: undefined, unk: 50256 });
    expect(gpt2.size).toBe(50257);
  }
});

it('adds RoBERTa’s special tokens from vocab.json and merges.txt, without a second token type', async () => {
  const folder = await mkdtemp(join(temporary, 'roberta-'));
  const vocab = { '<s>': 0, '<pad>': 1, '</s>': 2, '<unk>': 3, a: 4, b: 5, ab: 6, '<mask>': 7 };
  await writeFile(join(folder, 'vocab.json'), JSON.stringify(vocab));
  await writeFile(join(folder, 'merges.txt'), '#version: 0.2\na b\n');
  await writeFile(join(folder, 'config.json'), '{"model_type":"roberta"}');
  const { ids, typeIds } = (await loadTokenizer(folder)).encode('ab', { pair: 'a' });
  expect([...ids]).toEqual([0, 6, 2, 2, 4, 2]);
  expect([...typeIds]).toEqual([0, 0, 0, 0, 0, 0]);
});

describe('broken folders', () => {
  it('names the folder that holds no tokenizer', async () => {
    const folder = await mkdtemp(join(temporary, 'empty-'));
    await expect(loadTokenizer(folder)).rejects.toMatchObject({
      code: 'data/no-tokenizer',
      message: expect.stringContaining(folder),
    });
  });

  it('names the file that is broken', async () => {
    const folder = await mkdtemp(join(temporary, 'broken-'));
    await writeFile(join(folder, 'tokenizer.json'), '{"model": ');
    await expect(loadTokenizer(folder)).rejects.toMatchObject({
      code: 'data/broken-json',
      message: expect.stringContaining('tokenizer.json'),
    });
  });

  it('refuses a post-processor it does not know', async () => {
    const folder = await mkdtemp(join(temporary, 'unknown-'));
    const json = JSON.parse(await readFile(join(golden, 'llama-style/tokenizer.json'), 'utf8'));
    await writeFile(
      join(folder, 'tokenizer.json'),
      JSON.stringify({ ...json, post_processor: { type: 'Novel' } }),
    );
    await expect(loadTokenizer(folder)).rejects.toMatchObject({ code: 'data/tokenizer-part' });
  });
});
