import { RankineError } from '../errors.ts';
import type { LayerSpec } from '../models/architecture.ts';
import type { BoneOptions } from './bone-options.ts';

/** Shape of the one trained tensor K. Throws `adapters/not-divisible` where blocks or tiles do not fit the layer. */
export function boneShape(layer: LayerSpec, o: BoneOptions): readonly number[] {
  const { out: m, in: n } = layer;
  const r = o.rank;
  switch (o.mode) {
    case 'bat':
      if (m % r !== 0 || n % r !== 0)
        throw notDivisible(layer, 'rank', r, [m, n], ', or use the mode balance');
      return [m / r, r, r];
    case 'balance':
      return [r, m];
    case 'mini':
      if (m % o.miniRank! !== 0) throw notDivisible(layer, 'miniRank', o.miniRank!, [m]);
      return [r, o.miniRank!];
  }
}

function notDivisible(
  { name, out, in: inputs }: LayerSpec,
  option: string,
  part: number,
  sides: readonly number[],
  otherwise = '',
): RankineError {
  const sizes = sides.length === 1 ? `${out} rows` : `${out}×${inputs} weight`;
  let fitting = part;
  while (sides.some((side) => side % fitting !== 0)) fitting--;
  return new RankineError(
    'adapters/not-divisible',
    `Bone: ${option} ${part} does not divide the ${sizes} of ${name}.`,
    `Use ${option} ${fitting}, exclude the layer${otherwise}.`,
  );
}
