import type { PeftAdapter } from '../formats/peft.ts';
import { peftName, peftSharedName } from '../formats/peft-names.ts';
import type { NDArray } from '../graph/index.ts';
import type { LayerSpec } from '../models/architecture.ts';
import { biasToPeft, commonConfig, commonOptions, peftParts, requirePart } from './peft-layers.ts';
import { type RandloraOptions, randloraOptions, randloraSizes } from './randlora-options.ts';
import { jointBasis, leadingSlice } from './shared-basis.ts';
import type { ExportedFactors, PeftImport } from './weight-form.ts';

/** A RANDLORA file with the random matrices themselves: torch's generator is not ours. */
export function randloraToPeft(
  layers: readonly ExportedFactors<RandloraOptions>[],
  o: RandloraOptions,
): PeftAdapter {
  const tensors: Record<string, NDArray> = {};
  for (const { spec, arrays } of layers) {
    const { N } = randloraSizes(spec, o.rank);
    tensors[peftName(spec.name, 'randlora_gamma')] = arrays.gamma;
    // PEFT's scale is α/r for every layer; another divisor goes into λ.
    tensors[peftName(spec.name, 'randlora_lambda')] = o.scaleBySqrtN
      ? { ...arrays.lambda, data: (arrays.lambda.data as Float32Array).map((x) => x / Math.sqrt(N)) }
      : arrays.lambda;
  }
  // PEFT takes the largest out and in apart from each other, even where no layer has both.
  const [m, n] = [Math.max(...layers.map((l) => l.spec.out)), Math.max(...layers.map((l) => l.spec.in))];
  const { d, D, N } = randloraSizes({ ...layers[0].spec, out: m, in: n }, o.rank);
  const joint = (key: string, shape: readonly number[]) =>
    jointBasis(
      'RandLoRA',
      layers.map((l) => l.arrays[key]),
      shape,
    );
  tensors[peftSharedName('randlora_A')] = joint('A', [o.rank, 1, d]);
  tensors[peftSharedName('randlora_B')] = joint('B', [D, N, o.rank]);
  const config = {
    ...commonConfig('RANDLORA', layers, o),
    r: o.rank,
    randlora_alpha: o.alpha,
    randlora_dropout: o.dropout,
    sparse: o.basis === 'sparse',
    very_sparse: o.basis === 'verySparse',
    projection_prng_key: o.seed,
    save_projection: true,
    bias: biasToPeft(o.bias, 'randlora'),
  };
  return { config, tensors };
}

export function randloraFromPeft(
  adapter: PeftAdapter,
  layers: readonly LayerSpec[],
): PeftImport<RandloraOptions> {
  const parts = peftParts(adapter, 'RANDLORA', layers);
  const { config } = adapter;
  const rank = config.r ?? 32;
  const A = requirePart(parts.shared, 'randlora_A', 'all layers', [rank, 1, -1]);
  const B = requirePart(parts.shared, 'randlora_B', 'all layers', [-1, -1, rank]);
  const slices = new Map<string, { A: NDArray; B: NDArray }>();
  const sliced = (spec: LayerSpec) => {
    const { d, D, N } = randloraSizes(spec, rank);
    const known = slices.get(`${d}x${D}`);
    if (known) return known;
    const fresh = { A: leadingSlice(A, [rank, 1, d]), B: leadingSlice(B, [D, N, rank]) };
    slices.set(`${d}x${D}`, fresh);
    return fresh;
  };
  const factors = new Map(
    [...parts.layers].map(([name, { spec, parts: own }]) => {
      const { d, N } = randloraSizes(spec, rank);
      const lambda = requirePart(own, 'randlora_lambda', name, [rank, N]);
      const gamma = requirePart(own, 'randlora_gamma', name, [N, d]);
      return [name, { trainable: { lambda, gamma }, frozen: sliced(spec) }];
    }),
  );
  const options = randloraOptions.parse({
    ...commonOptions(config, parts, 'randlora'),
    rank,
    alpha: config.randlora_alpha ?? 640,
    basis: config.very_sparse ? 'verySparse' : config.sparse ? 'sparse' : 'dense',
    seed: config.projection_prng_key ?? 0,
  });
  return { options, factors };
}
