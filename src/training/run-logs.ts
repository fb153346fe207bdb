import { residentMemory } from './memory.ts';
import { openMetrics, truncateMetrics } from './metrics.ts';
import type { RunHost } from './run.ts';
import type { RunFolder } from './run-folder.ts';
import { openTensorboard } from './tensorboard.ts';
import type { UpdateReport } from './update.ts';

export interface Logs {
  /** What the run computed. */
  log(step: number, values: Record<string, number>): void;
  /** What the clock and the machine said. */
  logMeasured(step: number, values: Record<string, number>): void;
  sync(): void;
  close(): void;
}

/** Opens the logs as they were after update `step`. */
export async function openLogs({ paths }: RunFolder, step: number): Promise<Logs> {
  await truncateMetrics(paths.metrics, step);
  const metrics = openMetrics(paths.metrics);
  const board = openTensorboard(paths.tensorboard, { from: step + 1 });
  return {
    log(at, values) {
      metrics.log(at, values);
      board.log(at, values);
    },
    logMeasured: metrics.logMeasured,
    sync: metrics.sync,
    close() {
      metrics.close();
      board.close();
    },
  };
}

/** Logs an update and tells the host. */
export function reportStep(
  step: number,
  { loss, rate, norm, extra }: UpdateReport,
  pace: { tokensPerSecond?: number; secondsLeft?: number },
  logs: Logs,
  host: RunHost,
): void {
  const values: Record<string, number> = { 'train/loss': loss, 'train/rate': rate, ...extra };
  if (!Number.isNaN(norm)) values['train/norm'] = norm;
  logs.log(step, values);
  const memory = residentMemory();
  const { tokensPerSecond, secondsLeft } = pace;
  logs.logMeasured(step, {
    ...(tokensPerSecond === undefined ? {} : { 'pace/tokens_per_second': tokensPerSecond }),
    'memory/peak': memory.peak,
  });
  host.emit({ type: 'step', step, loss, rate, norm, tokensPerSecond, secondsLeft, memory: memory.now });
}
