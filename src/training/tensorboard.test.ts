import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { crc32c } from './crc32c.ts';
import { encodeEvent, encodeRecord, openTensorboard, type TensorboardEvent } from './tensorboard.ts';

test('CRC-32C of RFC 3720, appendix B.4', () => {
  expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
  expect(crc32c(new Uint8Array(32).fill(0xff))).toBe(0x62a8ab43);
  expect(crc32c(Uint8Array.from({ length: 32 }, (_, i) => i))).toBe(0x46dd794e);
});

test('the bytes of TensorBoard’s own writer', () => {
  const golden: { events: TensorboardEvent[]; hex: string } = JSON.parse(
    readFileSync(new URL('../../tests/golden/training/tensorboard.json', import.meta.url), 'utf8'),
  );
  const bytes = Buffer.concat(golden.events.map((event) => encodeRecord(encodeEvent(event))));
  expect(bytes.toString('hex')).toBe(golden.hex);
});

test('one file for each start, read in order of time', () => {
  const folder = mkdtempSync(join(tmpdir(), 'rankine-events-'));
  try {
    for (const from of [0, 4]) openTensorboard(folder, { from, now: () => 1_700_000_000 }).close();
    const sizes = readdirSync(folder)
      .sort()
      .map((name) => readFileSync(join(folder, name)).length);
    expect(sizes).toHaveLength(2);
    expect(sizes[1]).toBeGreaterThan(sizes[0]); // the second also says from which step on it stands for the run
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

// Set RANKINE_REFERENCE_PYTHON to a Python with tensorboard to run it.
const python = process.env.RANKINE_REFERENCE_PYTHON;
test.skipIf(!python)('TensorBoard reads a resumed run as one', () => {
  const folder = mkdtempSync(join(tmpdir(), 'rankine-events-'));
  try {
    for (const [from, to] of [
      [1, 6],
      [4, 8],
    ]) {
      const log = openTensorboard(folder, { from: from === 1 ? 0 : from });
      for (let step = from; step <= to; step++) log.log(step, { loss: step + from / 100, nan: Number.NaN });
      log.close();
    }
    const script = new URL('../../scripts/reference/training/event_files.py', import.meta.url).pathname;
    const read = JSON.parse(
      execFileSync(python!, [script, 'read', folder], { encoding: 'utf8' }).replaceAll('NaN', 'null'),
    );
    const expected = [1, 2, 3, 4, 5, 6, 7, 8].map((step) => [
      step,
      Math.fround(step + (step < 4 ? 0.01 : 0.04)),
    ]);
    expect(read.loss).toEqual(expected);
    expect(read.nan).toHaveLength(8);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
