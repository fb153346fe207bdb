import { expect, test } from 'vitest';
import { bytes, count, duration, number, percent } from './format.ts';

test.each([
  [0, '0 B'],
  [1023, '1023 B'],
  [1023.6, '1.00 KiB'],
  [1536, '1.50 KiB'],
  [1024 ** 2 - 1, '1.00 MiB'],
  [1.17e9, '1.09 GiB'],
  [150 * 1024 ** 3, '150 GiB'],
  [Number.NaN, '– '],
])('bytes(%d) = %s', (n, text) => {
  expect(bytes(n)).toBe(text);
});

test.each([
  [0, '0'],
  [999, '999'],
  [1000, '1.00K'],
  [12_345, '12.3K'],
  [999_999, '1.00M'],
  [134_515_008, '135M'],
  [6.738e9, '6.74B'],
])('count(%d) = %s', (n, text) => {
  expect(count(n)).toBe(text);
});

test.each([
  [0.04, '0.0 s'],
  [9.96, '10 s'],
  [59.6, '1 m 00 s'],
  [185, '3 m 05 s'],
  [3599.7, '1 h 00 m'],
  [7620, '2 h 07 m'],
  [86_399, '1 d 00 h'],
  [273_600, '3 d 04 h'],
  [undefined, '–'],
  [Infinity, '–'],
])('duration(%s) = %s', (seconds, text) => {
  expect(duration(seconds)).toBe(text);
});

test.each([
  [2.34561, '2.3456'],
  [0, '0'],
  [3e-4, '3.0e-4'],
  [-0.5, '-0.5000'],
  [123.456, '123.5'],
  [42, '42'],
  [1e6, '1.0e+6'],
  [Number.NaN, 'NaN'],
])('number(%d) = %s', (value, text) => {
  expect(number(value)).toBe(text);
});

test('percent', () => {
  expect(percent(0.4235)).toBe('42.4 %');
});
