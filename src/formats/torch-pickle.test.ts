import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { realData } from '../../tests/data.ts';
import { type GoldenTensor, golden, goldenPath } from '../../tests/golden-formats.ts';
import { bytesSource } from './byte-source.ts';
import { fileSource } from './file-source.ts';
import { openTorchPickle } from './torch-pickle.ts';

const open = (bytes: Uint8Array) => openTorchPickle(bytesSource('test.bin', bytes));
const goldenBytes = (name: string) => new Uint8Array(readFileSync(goldenPath(name)));

async function expectTensors(name: string, expected: Record<string, GoldenTensor>) {
  const file = await open(goldenBytes(name));
  expect([...file.tensors.keys()]).toEqual(Object.keys(expected));
  for (const [key, { shape, values }] of Object.entries(expected)) {
    const tensor = await file.read(key);
    expect([...tensor.shape], key).toEqual(shape);
    expect(Array.from(tensor.data, Number), key).toEqual(values);
  }
}

describe('checkpoints of torch.save', () => {
  test('zip form: transposed, sliced, expanded, half, parameter, empty and scalar tensors', () =>
    expectTensors('state.bin', golden.state));
  test('zip64, the form of files beyond 4 GB', () => expectTensors('state-zip64.bin', golden.state));
  test('the older stream form', () => expectTensors('state-legacy.bin', golden.state));
  test('a state dict inside a training checkpoint', () => expectTensors('wrapped.bin', golden.wrapped));

  const lora = realData('models/roberta_base_lora_mnli.bin');
  test.skipIf(!lora)('a published adapter', async () => {
    const file = await openTorchPickle(await fileSource(lora!));
    const pairs = [...file.tensors.keys()].filter((name) => name.endsWith('lora_A'));
    expect(pairs).toHaveLength(24);
    expect(file.tensors.get('roberta.encoder.layer.11.attention.self.value.lora_B')?.shape).toEqual([768, 8]);
    const values = (await file.read(pairs[0])).data;
    expect(values[0]).toBeCloseTo(0.010498442687094212, 12);
    await file.close();
  });
});

/** A legacy-like pickle: protocol 2, then the given operations. */
const pickled = (...operations: (number | string)[]) =>
  new Uint8Array([
    0x80,
    2,
    ...operations.flatMap((op) => (typeof op === 'number' ? [op] : [...new TextEncoder().encode(op)])),
  ]);

describe('what a pickle may not do', () => {
  test.each([
    ['malicious.bin', /os|posix|nt\.system/],
    ['whole-module.bin', /torch\.nn\.modules\.linear\.Linear at byte \d+/],
  ])('%s names what it may not', async (name, culprit) => {
    await expect(open(goldenBytes(name))).rejects.toMatchObject({
      code: 'formats/unsafe-pickle',
      message: expect.stringMatching(culprit),
      remedy: expect.stringContaining('convert it to safetensors'),
    });
  });

  test.each([
    ['builtins eval by GLOBAL', pickled('cbuiltins\neval\n.'), 'formats/unsafe-pickle'],
    ['by STACK_GLOBAL', pickled(0x8c, 2, 'os', 0x8c, 6, 'system', 0x93, '.'), 'formats/unsafe-pickle'],
    ['a property of every object', pickled('ctorch\nconstructor\n.'), 'formats/unsafe-pickle'],
    ['calling a dict', pickled('}', ')', 'R', '.'), 'formats/unsafe-pickle'],
    ['setting state of a type', pickled('ctorch\nFloatStorage\n', '}', 'b', '.'), 'formats/unsafe-pickle'],
    ['building by NEWOBJ', pickled('ccollections\nOrderedDict\n', ')', 0x81, '.'), 'formats/broken-pickle'],
    ['INST', pickled('(', 'ios\nsystem\n', '.'), 'formats/broken-pickle'],
    ['an empty stack', pickled('.'), 'formats/broken-pickle'],
    ['a group never opened', pickled('t', '.'), 'formats/broken-pickle'],
    ['an unknown memory', pickled('h', 9, '.'), 'formats/broken-pickle'],
    ['an end in the middle', pickled('X', 255, 0, 0, 0, 'ab'), 'formats/truncated'],
    [
      'another magic number',
      pickled('N', '.', 'N', '.', 'N', '.', 'N', '.', 'N', '.'),
      'formats/broken-pickle',
    ],
  ])('%s', async (_, bytes, code) => {
    await expect(open(bytes)).rejects.toMatchObject({ code });
  });
});

describe('damaged archives', () => {
  const whole = goldenBytes('state.bin');
  test('truncated', () =>
    expect(open(whole.slice(0, -30))).rejects.toMatchObject({ code: 'formats/broken-zip' }));
  test('empty', () =>
    expect(open(new Uint8Array(0))).rejects.toMatchObject({ code: 'formats/unknown-format' }));
  test('text', () =>
    expect(open(new TextEncoder().encode('hello world, no archive'))).rejects.toMatchObject({
      code: 'formats/unknown-format',
    }));
  test('a compressed entry', async () => {
    const bytes = whole.slice();
    const central = Buffer.from(bytes).indexOf(Buffer.from('PK\x01\x02'));
    bytes[central + 10] = 8;
    await expect(open(bytes)).rejects.toMatchObject({ code: 'formats/compressed-entry' });
  });
  test('a storage cut out of a legacy file', async () => {
    const legacy = goldenBytes('state-legacy.bin');
    await expect(open(legacy.slice(0, -200))).rejects.toMatchObject({ code: 'formats/truncated' });
  });
});
