import type { Singles } from './eight-bit-layout.ts';
import { type Piece, scaleByAdam, scaleByMoments } from './pieces.ts';
import { countEachTurn, placeInTurn } from './turns.ts';

export interface Moments {
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
}

/** Adam's direction as a piece, and as what the 8-bit kernel computes: at step t, step M/(root √V + ε). */
export interface AdamForm {
  readonly piece: Piece;
  at(step: number): Moments & Pick<Singles, 'step' | 'root'>;
}

/** M/(√V + ε), not corrected for the averages' start at zero. */
export function uncorrected(o: Moments): AdamForm {
  return { piece: scaleByMoments(o), at: () => ({ ...o, step: 1, root: 1 }) };
}

/** √(1−β₂ᵗ)/(1−β₁ᵗ) · M/(√V + ε). */
export function hfAdam(o: Moments): AdamForm {
  return {
    piece: scaleByAdam({ ...o, form: 'hf' }),
    at: (t) => ({ ...o, step: Math.sqrt(1 - o.beta2 ** t) / (1 - o.beta1 ** t), root: 1 }),
  };
}

/** M̂/(√V̂ + ε). */
export function torchAdam(o: Moments): AdamForm {
  return {
    piece: scaleByAdam({ ...o, form: 'torch' }),
    at: (t) => ({ ...o, step: 1 / (1 - o.beta1 ** t), root: 1 / Math.sqrt(1 - o.beta2 ** t) }),
  };
}

/** Counts steps from 1 in each turn of `gap` steps. */
export function eachTurn({ piece, at }: AdamForm, gap: number): AdamForm {
  return { piece: countEachTurn(piece, gap), at: (t) => at(placeInTurn(t, gap)) };
}
