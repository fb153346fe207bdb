/** Calendar dates and the many ways in which English writes them. */
import type { Cursor } from '../../src/linalg/index.ts';

/** A day of the Gregorian calendar; month and day count from 1. */
export interface CalendarDate {
  readonly year: number;
  readonly month: number;
  readonly day: number;
}

const MONTHS = 'January February March April May June July August September October November December'.split(
  ' ',
);
const WEEKDAYS = 'Sunday Monday Tuesday Wednesday Thursday Friday Saturday'.split(' ');
const UNITS =
  'zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen'.split(
    ' ',
  );
/** The tens from twenty on. */
const TENS = 'twenty thirty forty fifty sixty seventy eighty ninety'.split(' ');
const IRREGULAR_ORDINALS: Record<string, string> = {
  one: 'first',
  two: 'second',
  three: 'third',
  five: 'fifth',
  eight: 'eighth',
  nine: 'ninth',
  twelve: 'twelfth',
};

/** 0 to 99 in words: "eighty-four". */
export function numberWords(n: number): string {
  if (n < 20) return UNITS[n];
  const tens = TENS[Math.floor(n / 10) - 2];
  return n % 10 === 0 ? tens : `${tens}-${UNITS[n % 10]}`;
}

/** 1 to 99 as an ordinal in words: "twenty-first". */
export function ordinalWords(n: number): string {
  return numberWords(n).replace(
    /[a-z]+$/,
    (last) => IRREGULAR_ORDINALS[last] ?? `${last.replace(/y$/, 'ie')}th`,
  );
}

/** 1 to 31 as an ordinal in digits: "21st". */
export function ordinalDigits(n: number): string {
  const teen = n > 10 && n < 20;
  return `${n}${(!teen && ['', 'st', 'nd', 'rd'][n % 10]) || 'th'}`;
}

/** The usual readings of a year from 1800 to 2099: "nineteen oh five", "two thousand and nine", "twenty nineteen". */
export function yearReadings(year: number): string[] {
  const [century, rest] = [Math.floor(year / 100), year % 100];
  if (year === 2000) return ['two thousand'];
  if (rest === 0) return [`${numberWords(century)} hundred`];
  const paired = `${numberWords(century)} ${rest < 10 ? `oh ${UNITS[rest]}` : numberWords(rest)}`;
  if (century === 20) return [paired, `two thousand and ${numberWords(rest)}`];
  return rest < 10 ? [paired, `${numberWords(century)} hundred and ${UNITS[rest]}`] : [paired];
}

/** The day of the week of a date. */
export function weekday({ year, month, day }: CalendarDate): string {
  return WEEKDAYS[new Date(Date.UTC(year, month - 1, day)).getUTCDay()];
}

/** ISO 8601: "1984-03-03". */
export function isoDate({ year, month, day }: CalendarDate): string {
  return [year, month, day].map((n) => String(n).padStart(2, '0')).join('-');
}

/** Every day from the first of January of one year to the last of December of another. */
export function datesBetween(firstYear: number, lastYear: number): CalendarDate[] {
  const dates: CalendarDate[] = [];
  for (let time = Date.UTC(firstYear, 0, 1); time < Date.UTC(lastYear + 1, 0, 1); time += 86_400_000) {
    const date = new Date(time);
    dates.push({ year: date.getUTCFullYear(), month: date.getUTCMonth() + 1, day: date.getUTCDate() });
  }
  return dates;
}

/** The abbreviation of a month: "Sept" (as most write it), else the first three letters. */
const shortMonth = (month: number) => (month === 9 ? 'Sept' : MONTHS[month - 1].slice(0, 3));

/** Day and month in one of the usual orders, and whether a comma comes before the year. */
const DAY_MONTH: readonly ((date: CalendarDate) => [string, string])[] = [
  ({ day, month }) => [`the ${ordinalWords(day)} of ${MONTHS[month - 1]}`, ', '],
  ({ day, month }) => [`the ${ordinalWords(day)} of ${MONTHS[month - 1]}`, ' '],
  ({ day, month }) => [`${MONTHS[month - 1]} the ${ordinalWords(day)}`, ', '],
  ({ day, month }) => [`the ${ordinalDigits(day)} of ${MONTHS[month - 1]}`, ' '],
  ({ day, month }) => [`${MONTHS[month - 1]} ${ordinalDigits(day)}`, ', '],
  ({ day, month }) => [`${shortMonth(month)} ${day}`, ', '],
  ({ day, month }) => [`${day} ${MONTHS[month - 1]}`, ' '],
];

/** Writes a date in one of its usual forms, drawn by the cursor: "on Tuesday, March 3rd, nineteen eighty-four". */
export function writeDate(date: CalendarDate, draw: Cursor): string {
  const [dayMonth, separator] = DAY_MONTH[draw.integer(DAY_MONTH.length)](date);
  const readings = yearReadings(date.year);
  const year = draw.integer(4) === 0 ? String(date.year) : readings[draw.integer(readings.length)];
  const named = draw.integer(3) === 0 ? `${weekday(date)}, ` : '';
  const on = draw.integer(4) === 0 ? 'on ' : '';
  return `${on}${named}${dayMonth}${separator}${year}`;
}
