import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  datesBetween,
  numberWords,
  ordinalDigits,
  ordinalWords,
  yearReadings,
} from '../../scripts/quickstart/dates.ts';
import { dateTask } from '../../scripts/quickstart/task.ts';

const SMALL =
  `zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
  seventeen eighteen nineteen`.split(/\s+/);
const TENS = 'twenty thirty forty fifty sixty seventy eighty ninety'.split(' ');
const ORDINALS =
  `zeroth first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth
  fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth`.split(/\s+/);
const MONTHS = 'jan feb mar apr may jun jul aug sep oct nov dec'.split(' ');

/** An independent reader: the value of one word, cardinal or ordinal, or of digits with or without an ending. */
function wordValue(word: string): number {
  const small = Math.max(SMALL.indexOf(word), ORDINALS.indexOf(word));
  if (small >= 0) return small;
  const tens = TENS.findIndex((ten) => word === ten || word === ten.replace(/y$/, 'ieth'));
  if (tens >= 0) return 20 + 10 * tens;
  return Number(word.replace(/(?<=\d)(st|nd|rd|th)$/, ''));
}

/** "twenty-first" and "oh five" and "84". */
const smallValue = (text: string) =>
  text.split(/[- ]/).reduce((sum, word) => sum + (word === 'oh' ? 0 : wordValue(word)), 0);

function readYear(text: string): number {
  if (/^\d{4}$/.test(text)) return Number(text);
  const [, thousands, rest = 'zero'] = /^two (thousand)(?: and (.*))?$/.exec(text) ?? [];
  if (thousands) return 2000 + smallValue(rest);
  const [century, ...others] = text.split(' ').filter((word) => word !== 'hundred' && word !== 'and');
  return 100 * smallValue(century) + (others.length > 0 ? smallValue(others.join(' ')) : 0);
}

/** Reads a written date back: [weekday or undefined, ISO date]. */
function readDate(text: string): [string | undefined, string] {
  const [, day] = /^(?:on )?(?:(\w+day), )?/.exec(text) ?? [];
  const rest = text.replace(/^(on )?(\w+day, )?/, '').replaceAll(',', '');
  const words = rest.split(' ').filter((word) => word !== 'the' && word !== 'of');
  const isMonth = (word: string) => MONTHS.indexOf(word.slice(0, 3).toLowerCase());
  const at = words.slice(0, 2).findIndex((word) => isMonth(word) >= 0);
  const numbers = [readYear(words.slice(2).join(' ')), isMonth(words[at]) + 1, smallValue(words[1 - at])];
  return [day, numbers.map((n) => String(n).padStart(2, '0')).join('-')];
}

describe('numbers in words', () => {
  it('reads back every number, ordinal and year', () => {
    for (let n = 1; n < 100; n++)
      expect([smallValue(numberWords(n)), smallValue(ordinalWords(n))]).toEqual([n, n]);
    for (let year = 1800; year < 2100; year++) {
      for (const reading of yearReadings(year)) expect([reading, readYear(reading)]).toEqual([reading, year]);
    }
  });

  it('knows the endings of ordinals', () => {
    const ordinals = [1, 2, 3, 4, 11, 12, 13, 20, 21, 22, 23, 30, 31].map(ordinalDigits).join(' ');
    expect(ordinals).toBe('1st 2nd 3rd 4th 11th 12th 13th 20th 21st 22nd 23rd 30th 31st');
  });

  it('counts the days of 1900 to 2029: 1900 is no leap year, 2000 is', () => {
    expect(datesBetween(1900, 2029)).toHaveLength(130 * 365 + 32);
  });
});

describe('the date task', () => {
  const { train, test } = dateTask(1);

  it('writes every date so that it can be read back, with its true weekday', () => {
    for (const { prompt, completion } of [...train, ...test]) {
      const [day, iso] = readDate(prompt.replace(/\nISO:$/, ''));
      expect([prompt, ` ${iso}`]).toEqual([prompt, completion]);
      if (day) expect(new Date(iso).toLocaleDateString('en', { weekday: 'long', timeZone: 'UTC' })).toBe(day);
    }
  });

  it('keeps the dates of training and test apart', () => {
    const trained = new Set(train.map(({ completion }) => completion));
    expect(trained.size).toBe(6000);
    expect(test.filter(({ completion }) => trained.has(completion))).toEqual([]);
  });

  it.each(['train', 'test'] as const)('is what the shipped %s.jsonl holds', (split) => {
    const file = readFileSync(new URL(`../../quickstart/data/${split}.jsonl`, import.meta.url), 'utf8');
    expect(
      file
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line)),
    ).toEqual({ train, test }[split]);
  });

  it('depends on the seed', () => {
    expect(dateTask(2).test).not.toEqual(test);
  });
});
