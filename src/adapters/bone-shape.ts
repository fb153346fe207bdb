import { RankineError } from '../errors.ts';
import type { LayerSpec } from '../models/architecture.ts';
import type { BoneOptions } from './bone-options.ts';

/** Shape of the one trained tensor K. Throws `adapters/not-divisible` where blocks or tiles do not fit the layer. */
export function boneShape(layer: LayerSpec, o: BoneOptions): readonly number[] {
  const { out: m, in: n } = layer;
  const r = o.rank;
  switch (o.mode) {
    case 'bat':
      divides(layer, r, m, 'rank', 'rows');
      divides(layer, r, n, 'rank', 'columns');
      return [m / r, r, r];
    case 'balance':
      return [r, m];
    case 'mini':
      divides(layer, o.miniRank!, m, 'miniRank', 'rows');
      return [r, o.miniRank!];
  }
}

function divides(layer: LayerSpec, part: number, whole: number, option: string, side: string): void {
  if (whole % part === 0) return;
  throw new RankineError(
    'adapters/not-divisible',
    `Bone: ${option} ${part} does not divide the ${whole} ${side} of ${layer.name}.`,
    `Choose a divisor, exclude the layer${option === 'rank' ? ', or use the mode balance' : ''}.`,
  );
}
