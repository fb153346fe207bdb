import { RankineError } from '../errors.ts';
import type { ParameterInfo } from './optimizer.ts';

/** Weights of targeted layers inside the blocks: what low-rank optimizers project. */
export function isMatrix(parameter: ParameterInfo): boolean {
  return parameter.role === 'matrix' && parameter.shape.length === 2;
}

/**
 * A method that would do nothing of its own to these parameters is refused.
 *
 * @param rank to which it projects each matrix
 * @throws RankineError `optimizers/no-matrices`, `optimizers/rank`
 */
export function requireMatrices(method: string, parameters: readonly ParameterInfo[], rank?: number): void {
  const matrices = parameters.filter(isMatrix);
  if (matrices.length > 0) {
    if (rank !== undefined) requireRank(method, matrices, rank);
    return;
  }
  throw new RankineError(
    'optimizers/no-matrices',
    `${method} works on whole weight matrices of the blocks, but this run trains none.`,
    'Train all weights (no adapter), or take adamw.',
  );
}

/**
 * Names the narrowest of the matrices, so that a rank as the remedy says fits them all.
 *
 * @throws RankineError `optimizers/rank`
 */
export function requireRank(method: string, matrices: readonly ParameterInfo[], rank: number): void {
  const side = ({ shape }: ParameterInfo) => Math.min(...shape);
  checkRank(
    method,
    matrices.reduce((a, b) => (side(b) < side(a) ? b : a)),
    rank,
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
