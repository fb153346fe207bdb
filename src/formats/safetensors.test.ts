import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { golden, goldenPath } from '../../tests/golden-formats.ts';
import { array, at, type NDArray } from '../graph/array.ts';
import { type ByteSource, bytesSource } from './byte-source.ts';
import { openSafetensors } from './safetensors.ts';
import { encodeSafetensors, lazyTensors, safetensorsChunks } from './safetensors-write.ts';

const open = (bytes: Uint8Array) => openSafetensors(bytesSource('test.safetensors', bytes));

/** A file from a header given as text or object, and data. */
function fileOf(header: unknown, dataBytes = 0, announced?: number): Uint8Array {
  const text = new TextEncoder().encode(typeof header === 'string' ? header : JSON.stringify(header));
  const out = new Uint8Array(8 + text.length + dataBytes);
  new DataView(out.buffer).setBigUint64(0, BigInt(announced ?? text.length), true);
  out.set(text, 8);
  return out;
}

const f32 = (offsets: number[], shape = [1]) => ({ dtype: 'F32', shape, data_offsets: offsets });

describe('reading', () => {
  test('every type gives the values that Python wrote', async () => {
    const file = await open(readFileSync(goldenPath('types.safetensors')));
    expect(file.metadata).toEqual({ format: 'pt' });
    expect([...file.tensors.keys()].sort()).toEqual(Object.keys(golden.types).sort());
    for (const [name, expected] of Object.entries(golden.types)) {
      const tensor = await file.read(name);
      expect([...tensor.shape]).toEqual(expected.shape);
      expect(Array.from(tensor.data, Number), name).toEqual(expected.values);
    }
  });

  test('one tensor costs its own bytes only', async () => {
    const bytes = await encodeSafetensors({
      big: array(new Float32Array(5000), [5000]),
      small: array([7], [1]),
    });
    const reads: number[] = [];
    const inner = bytesSource('counted', bytes);
    const counted: ByteSource = {
      ...inner,
      read(offset, length) {
        reads.push(length);
        return inner.read(offset, length);
      },
    };
    const file = await openSafetensors(counted);
    reads.length = 0;
    expect(at(await file.read('small'), 0)).toBe(7);
    expect(reads).toEqual([4]);
  });

  test('a missing tensor names the nearest', async () => {
    const file = await open(
      await encodeSafetensors({ 'h.0.attn.weight': array([1], [1]), other: array([1], [1]) }),
    );
    await expect(file.read('h.0.atn.weight')).rejects.toMatchObject({
      code: 'formats/missing-tensor',
      remedy: expect.stringContaining('are h.0.attn.weight'),
    });
  });
});

describe('malformed files', () => {
  const good = fileOf({ a: f32([0, 4]) }, 4);
  const cases: [string, Uint8Array, string][] = [
    ['empty', new Uint8Array(0), 'formats/truncated'],
    ['cut in the length', good.slice(0, 5), 'formats/truncated'],
    ['cut in the header', good.slice(0, 20), 'formats/truncated'],
    ['cut in the data', good.slice(0, good.length - 1), 'formats/truncated'],
    ['header longer than allowed', fileOf({}, 0, 2 ** 40), 'formats/safetensors-header'],
    ['a web page', new TextEncoder().encode('<!doctype html><html></html>'), 'formats/safetensors-header'],
    ['not JSON', fileOf('{"a":'), 'formats/safetensors-header'],
    ['an array', fileOf('[]'), 'formats/safetensors-header'],
    ['not UTF-8', new Uint8Array([2, 0, 0, 0, 0, 0, 0, 0, 0x7b, 0xff]), 'formats/safetensors-header'],
    ['no shape', fileOf({ a: { dtype: 'F32', data_offsets: [0, 4] } }, 4), 'formats/safetensors-header'],
    ['an entry that is null', fileOf({ a: null }), 'formats/unsupported-dtype'],
    ['negative shape', fileOf({ a: f32([0, 4], [-1]) }, 4), 'formats/safetensors-header'],
    ['metadata of numbers', fileOf({ __metadata__: { a: 1 } }), 'formats/safetensors-header'],
    ['unknown type', fileOf({ a: { ...f32([0, 4]), dtype: 'F8_E4M3' } }, 4), 'formats/unsupported-dtype'],
    ['overlap', fileOf({ a: f32([0, 4]), b: f32([2, 6]) }, 6), 'formats/safetensors-offsets'],
    ['hole', fileOf({ a: f32([0, 4]), b: f32([8, 12]) }, 12), 'formats/safetensors-offsets'],
    ['rest', fileOf({ a: f32([0, 4]) }, 9), 'formats/safetensors-offsets'],
    ['reversed offsets', fileOf({ a: f32([4, 0]) }, 4), 'formats/safetensors-offsets'],
    ['shape against offsets', fileOf({ a: f32([0, 4], [2]) }, 4), 'formats/safetensors-offsets'],
    ['outside', fileOf({ a: f32([0, 400], [100]) }, 8), 'formats/truncated'],
    [
      'name twice',
      fileOf(`{"a":${JSON.stringify(f32([0, 4]))},"\\u0061":${JSON.stringify(f32([4, 8]))}}`, 8),
      'formats/duplicate-tensor',
    ],
  ];
  test.each(cases)('%s', async (_, bytes, code) => {
    await expect(open(bytes)).rejects.toMatchObject({
      code,
      message: expect.stringContaining('test.safetensors'),
      remedy: expect.any(String),
    });
  });
});

describe('writing', () => {
  test('gives the bytes that Python writes', async () => {
    const expected = readFileSync(goldenPath('writable.safetensors'));
    const file = await open(expected);
    const arrays: Record<string, NDArray> = {};
    for (const name of file.tensors.keys()) arrays[name] = await file.read(name);
    expect(Buffer.from(await encodeSafetensors(arrays)).equals(expected)).toBe(true);
  });

  test('any set of tensors comes back, also under names that look like numbers', async () => {
    const tensor = fc.array(fc.float({ noNaN: true }), { maxLength: 9 }).map((v) => array(v, [v.length]));
    const set = fc.dictionary(fc.string({ minLength: 1 }), tensor, { maxKeys: 6 });
    await fc.assert(
      fc.asyncProperty(set, async (arrays) => {
        const file = await open(await encodeSafetensors(arrays));
        expect(file.tensors.size).toBe(Object.keys(arrays).length);
        for (const [name, a] of Object.entries(arrays)) expect((await file.read(name)).data).toEqual(a.data);
      }),
      { numRuns: 60 },
    );
  });

  test('narrowing touches floating tensors only', async () => {
    const arrays = { w: array([1.5, -2], [2]), ids: array([1, 2], [2], 'int64') };
    for (const dtype of ['F16', 'BF16'] as const) {
      const file = await open(await encodeSafetensors(arrays, { dtype }));
      expect(file.tensors.get('w')?.dtype).toBe(dtype);
      expect(file.tensors.get('ids')?.dtype).toBe('I64');
      expect([...(await file.read('w')).data]).toEqual([1.5, -2]);
    }
  });

  test('a name twice, a reserved name and a broken announcement are refused', async () => {
    const [tensor] = lazyTensors({ a: array([1], [1]) });
    const drain = async (list: Parameters<typeof safetensorsChunks>[0]) => {
      for await (const chunk of safetensorsChunks(list)) expect(chunk).toBeInstanceOf(Uint8Array);
    };
    await expect(drain([tensor, tensor])).rejects.toMatchObject({ code: 'formats/duplicate-tensor' });
    await expect(drain([{ ...tensor, name: '__metadata__' }])).rejects.toMatchObject({
      code: 'formats/duplicate-tensor',
    });
    await expect(drain([{ ...tensor, shape: [2] }])).rejects.toMatchObject({ code: 'formats/tensor-shape' });
  });
});
