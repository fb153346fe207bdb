import { expect, test } from 'vitest';
import { golden } from '../../tests/golden-formats.ts';
import { narrowBfloat16, narrowFloat16, widenBfloat16, widenFloat16 } from './half-precision.ts';

const floats = new Float32Array(Int32Array.from(golden.half.bits).buffer);

test('narrowing gives the bits of PyTorch, also for ties, subnormals, overflow and infinity', () => {
  expect([...narrowFloat16(floats)]).toEqual(golden.half.float16);
  expect([...narrowBfloat16(floats)]).toEqual(golden.half.bfloat16);
});

test('every 16-bit pattern that is no NaN survives widening and narrowing', () => {
  const all = Uint16Array.from({ length: 65536 }, (_, i) => i);
  const isNaN16 = (h: number) => (h & 0x7fff) > 0x7c00;
  const isNaNB16 = (h: number) => (h & 0x7fff) > 0x7f80;
  const back = narrowFloat16(widenFloat16(all));
  expect(all.filter((h) => !isNaN16(h) && back[h] !== h)).toHaveLength(0);
  const backB = narrowBfloat16(widenBfloat16(all));
  expect(all.filter((h) => !isNaNB16(h) && backB[h] !== h)).toHaveLength(0);
});

test('NaN stays NaN', () => {
  const nan = new Float32Array(new Uint32Array([0x7f800001, 0xffffffff]).buffer);
  expect([...widenFloat16(narrowFloat16(nan))]).toEqual([Number.NaN, Number.NaN]);
  expect([...widenBfloat16(narrowBfloat16(nan))]).toEqual([Number.NaN, Number.NaN]);
});
