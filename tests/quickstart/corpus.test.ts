import { describe, expect, it } from 'vitest';
import { gsm8kDocument, pack, splitByHash } from '../../scripts/quickstart/corpus.ts';
import { detokenise, wikitextParagraphs } from '../../scripts/quickstart/detokenise.ts';

describe('WikiText as prose', () => {
  it('undoes the tokeniser', () => {
    const tokenised =
      'Its " lobster red " shell ( 3 @.@ 4 in ) cost $ 4 @,@ 386 , a twelve @-@ day feast ; it \'s sold .';
    const prose = 'Its "lobster red" shell (3.4 in) cost $4,386, a twelve-day feast; it\'s sold.';
    expect(detokenise(tokenised)).toBe(prose);
  });

  it('drops headings and sentences with an unknown word, and nothing else', () => {
    const file =
      ' = Title = \n \n The first sentence stays where it is . The <unk> goes . The last one stays as well . \n';
    expect(wikitextParagraphs(file)).toEqual([
      'The first sentence stays where it is. The last one stays as well.',
    ]);
  });
});

describe('documents', () => {
  it('frees GSM8K of its calculator marks', () => {
    const document = gsm8kDocument({ question: 'How many?', answer: '48/2 = <<48/2=24>>24 clips.\n#### 24' });
    expect(document).toBe('Question: How many?\nAnswer: 48/2 = 24 clips.\nThe answer is 24.');
  });

  it('packs neighbours, cuts what is too long, and loses no word', () => {
    const pieces = [
      'short one.',
      'another.',
      'word '.repeat(500),
      'Sentence here. '.repeat(100),
      'x'.repeat(2000),
    ];
    const documents = pack(pieces, ' ');
    for (const document of documents) expect(document.length).toBeLessThanOrEqual(950);
    const letters = (texts: string[]) => texts.join('').replace(/\s/g, '');
    expect(letters(documents)).toBe(letters(pieces));
    expect(documents[0]).toBe('short one. another.');
  });

  it('splits by content: order and duplicates do not matter', () => {
    const texts = Array.from({ length: 2000 }, (_, i) => `document ${i}`);
    const split = splitByHash(texts);
    expect(splitByHash([...texts, ...texts].reverse())).toEqual(split);
    expect([...split.train, ...split.valid].sort()).toEqual([...texts].sort());
    expect(split.valid.length).toBeGreaterThan(20);
    expect(split.valid.length).toBeLessThan(80);
  });
});
