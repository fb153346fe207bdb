import { type DType, type NDArray, zeros } from '../graph/index.ts';
import { random } from '../linalg/index.ts';
import type { NoiseSpec } from '../models/context.ts';
import { factorArrays, type Setup, type Stretch } from './execution.ts';

/**
 * Feeds of a stretch by their names: `own` first, then the run's weights and factors.
 * @param draw number of this draw of noise
 */
export type Feeder = (
  stretch: Stretch,
  own: Readonly<Record<string, NDArray>>,
  draw: number,
) => Record<string, NDArray>;

/** Noise is drawn into arrays that are held: stretches that run in turn share them. */
export function createFeeder({
  adaptation,
  model,
  seed,
}: Pick<Setup, 'adaptation' | 'model' | 'seed'>): Feeder {
  const factors = factorArrays(adaptation);
  const held = new Map<string, NDArray>();
  return ({ executable, noise }, own, draw) => {
    const feeds: Record<string, NDArray> = {};
    const places = noisePlaces(noise);
    for (const [i, spec] of noise.entries()) {
      const array = held.get(places[i]) ?? zeros(spec.shape, noiseType(spec));
      held.set(places[i], array);
      drawNoise(spec, array, seed, draw);
      feeds[spec.name] = array;
    }
    for (const { name } of executable.inputs) {
      const array = feeds[name] ?? own[name] ?? factors.get(name) ?? model.weights.get(name);
      if (array) feeds[name] = array;
    }
    return feeds;
  };
}

/** Element type of the arrays that noise is drawn into. */
export function noiseType({ kind }: NoiseSpec): DType {
  return kind === 'normal' ? 'float32' : 'bool';
}

/** Which array each noise of a stretch is drawn into. */
export function noisePlaces(noise: readonly NoiseSpec[]): string[] {
  const seen = new Map<string, number>();
  return noise.map(({ kind, shape }) => {
    const alike = `${kind}[${shape}]`;
    const earlier = seen.get(alike) ?? 0;
    seen.set(alike, earlier + 1);
    return `${alike}/${earlier}`;
  });
}

function drawNoise({ name, kind, keep }: NoiseSpec, into: NDArray, seed: number, draw: number): void {
  const source = random(seed, name);
  if (kind === 'normal') source.fillNormal(into.data as Float32Array, draw);
  else source.fillBernoulli(into.data as Uint8Array, keep!, draw);
}
