import { RankineError } from '../errors.ts';
import type { ParameterInfo } from './optimizer.ts';

/** Weights of targeted layers inside the blocks: what low-rank optimizers project. */
export function isMatrix(parameter: ParameterInfo): boolean {
  return parameter.role === 'matrix' && parameter.shape.length === 2;
}

/** A method that would do nothing of its own to these parameters is refused. */
export function requireMatrices(method: string, parameters: readonly ParameterInfo[]): void {
  if (parameters.some(isMatrix)) return;
  throw new RankineError(
    'optimizers/no-matrices',
    `${method} works on whole weight matrices of the blocks, but this run trains none.`,
    'Train all weights (no adapter), or take adamw.',
  );
}

/** @throws RankineError `optimizers/rank` where no projection of this rank exists */
export function checkRank(method: string, { name, shape }: ParameterInfo, rank: number): void {
  const most = Math.min(...shape);
  if (rank <= most) return;
  throw new RankineError(
    'optimizers/rank',
    `${method} cannot project ${name} of shape [${shape}] to rank ${rank}.`,
    `Give a rank of 1 to ${most}.`,
  );
}
