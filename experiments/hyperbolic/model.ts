import {
  concat,
  constant,
  fill,
  gather,
  mul,
  type NDArray,
  reshape,
  slice,
  sub,
} from '../../src/graph/index.ts';
import { type Architecture, drawParameter, type Model } from '../../src/models/index.ts';
import { lorentzDistance, lorentzLinear, lorentzPoint } from '../../src/models/lorentz.ts';
import { WIDTH } from './tree.ts';

/** Radius and temperature of the Fermi–Dirac decoder (Krioukov et al. 2010), as in hyperbolic graph networks. */
const [RADIUS, TEMPERATURE] = [2, 1];

/** Standard deviation of fresh matrices. */
const FRESH = 0.2;

const LAYERS = 2;

/**
 * Whether two nodes are linked: their features are lifted onto the hyperboloid and pass through Lorentz linear layers;
 * the log-odds are (r − d²)/t of the distance that is left.
 */
export function treeModel(features: NDArray, seed: number): Model {
  const layers = Array.from({ length: LAYERS }, (_, block) => ({
    name: `layers.${block}`,
    kind: 'linear' as const,
    out: WIDTH,
    in: WIDTH + 1,
    block,
  }));
  const parameters = new Map(
    layers.map((l) => [`${l.name}.weight`, { shape: [l.out, l.in], init: { normal: FRESH } }]),
  );
  const architecture: Architecture = {
    type: 'lorentz-links',
    task: 'sequence-classification',
    parameters,
    layers,
    blocks: LAYERS,
    embed: (_, { ids }) => lorentzPoint(gather(constant(features), ids!)),
    block: (c, index, x) => lorentzLinear(c, `layers.${index}`, x),
    head(_, x) {
      const side = (k: number) => reshape(slice(x, 1, k, k + 1), [x.shape[0], WIDTH + 1]);
      const odds = mul(sub(RADIUS, lorentzDistance(side(0), side(1))), 1 / TEMPERATURE);
      return { kind: 'classes', logits: concat([fill(odds.shape, 0), odds], 1) };
    },
  };
  const weights = new Map([...parameters].map(([name, spec]) => [name, drawParameter(name, spec, seed)]));
  return { architecture, config: { model_type: architecture.type }, weights, fresh: [], notices: [] };
}
