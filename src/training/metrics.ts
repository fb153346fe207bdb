import { closeSync, existsSync, fsyncSync, openSync, writeSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { RankineError } from '../errors.ts';
import { writeAtomic } from '../formats/atomic.ts';

/** One measured value: one line of `metrics.jsonl`. */
export interface MetricRecord {
  /** Updates done when it was measured. */
  readonly step: number;
  /** Slash-separated, as TensorBoard groups them: `train/loss`, `eval/accuracy`. */
  readonly name: string;
  /** NaN and the infinities are written as the strings "NaN", "Infinity", "-Infinity". */
  readonly value: number;
  /**
   * Seconds since 1970. Present only on records that depend on the clock or the machine (pace, memory): without those,
   * the file of a resumed run equals, byte by byte, that of a run that was never stopped.
   */
  readonly time?: number;
}

export interface MetricsLog {
  /** Appends what the run computed after `step` updates: the same values whenever the run is repeated. */
  log(step: number, values: Readonly<Record<string, number>>): void;
  /** Appends what the clock and the machine said: pace, memory, time. */
  logMeasured(step: number, values: Readonly<Record<string, number>>): void;
  /** Waits until the disk has everything; call it before a checkpoint is written. */
  sync(): void;
  close(): void;
}

/**
 * Opens `metrics.jsonl` for appending. Each call of `log` is one write to the system: a killed process loses nothing
 * that was logged, and at most the last line is cut short.
 *
 * Before resuming call `truncateMetrics`.
 *
 * @param now seconds since 1970, for `logMeasured`
 */
export function openMetrics(path: string, now: () => number = () => Date.now() / 1000): MetricsLog {
  const file = openSync(path, 'a');
  const append = (records: MetricRecord[]): void => {
    writeWhole(file, records.map(encodeRecord).join(''));
  };
  return {
    log: (step, values) => append(Object.entries(values).map(([name, value]) => ({ step, name, value }))),
    logMeasured(step, values) {
      const time = now();
      append(Object.entries(values).map(([name, value]) => ({ step, name, value, time })));
    },
    sync: () => fsyncSync(file),
    close: () => closeSync(file),
  };
}

/**
 * Cuts a metrics file back to what was logged until update `step`, the update of the checkpoint that a run resumes
 * from. The file is replaced at once; a line that a killed process left unfinished goes too.
 *
 * The trainer writes the checkpoint as the last act of its update, so that every record of `step` is there before it.
 *
 * @throws RankineError `training/broken-metrics`
 */
export async function truncateMetrics(path: string, step: number): Promise<void> {
  if (!existsSync(path)) return;
  const lines = wholeLines(await readFile(path, 'utf8'));
  const kept = lines.filter((line, i) => decodeRecord(line, path, i + 1).step <= step);
  await writeAtomic(path, kept.map((line) => `${line}\n`).join(''));
}

/**
 * Reads a metrics file; an unfinished last line is left out.
 *
 * @throws RankineError `training/broken-metrics`
 */
export async function readMetrics(path: string): Promise<MetricRecord[]> {
  return wholeLines(await readFile(path, 'utf8')).map((line, i) => decodeRecord(line, path, i + 1));
}

function encodeRecord({ step, name, value, time }: MetricRecord): string {
  return `${JSON.stringify({ step, name, value: Number.isFinite(value) ? value : String(value), time })}\n`;
}

function decodeRecord(line: string, path: string, number: number): MetricRecord {
  const record = parse(line);
  const value = VALUES[String(record?.value)] ?? record?.value;
  if (
    !record ||
    !Number.isInteger(record.step) ||
    typeof record.name !== 'string' ||
    typeof value !== 'number'
  )
    throw new RankineError(
      'training/broken-metrics',
      `Line ${number} of ${path} is no metric record: ${line.slice(0, 80)}`,
      'Remove or repair that line.',
    );
  return { ...(record as unknown as MetricRecord), value };
}

const VALUES: Record<string, number | undefined> = {
  NaN: Number.NaN,
  Infinity: Number.POSITIVE_INFINITY,
  '-Infinity': Number.NEGATIVE_INFINITY,
};

function parse(line: string): Record<string, unknown> | undefined {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

/** Lines that end in a line feed: what stands after the last one was cut short. */
function wholeLines(text: string): string[] {
  return text.split('\n').slice(0, -1);
}

function writeWhole(file: number, text: string): void {
  const bytes = Buffer.from(text);
  for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done);
}
