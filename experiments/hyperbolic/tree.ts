import { type LabelledBatch, START } from '../../src/data/index.ts';
import { type NDArray, zeros } from '../../src/graph/index.ts';
import { multiply, qr, random } from '../../src/linalg/index.ts';

/** Width of a node's features, and of its embedding. */
export const WIDTH = 16;
/** Features that follow the tree; the others are noise. */
const TELLING = 12;
/** Standard deviation of the noise; a child's telling features differ from its parent's by 1. */
const NOISE = 4;
const BRANCHES = 3;
const LEVELS = 5;

type Pair = readonly [number, number];

/** A balanced tree whose nodes inherit features from their parents, turned and drowned in noise. */
export interface Tree {
  /** [nodes, WIDTH]. */
  readonly features: NDArray;
  readonly edges: { readonly train: readonly Pair[]; readonly test: readonly Pair[] };
  /** True for edges of either part, in both directions. */
  connected(a: number, b: number): boolean;
}

export function makeTree(seed: number): Tree {
  const nodes = (BRANCHES ** (LEVELS + 1) - 1) / (BRANCHES - 1);
  const all: Pair[] = Array.from({ length: nodes - 1 }, (_, i) => [i + 1, Math.floor(i / BRANCHES)]);
  const order = random(seed, 'tree/split').cursor().permutation(all.length);
  const held = Math.floor(all.length / 5);
  const parts = (from: number, to: number) => Array.from(order.subarray(from, to), (i) => all[i]);
  const known = new Set(all.flatMap(([a, b]) => [`${a},${b}`, `${b},${a}`]));
  return {
    features: turned(inherited(nodes, all, seed), seed),
    edges: { test: parts(0, held), train: parts(held, all.length) },
    connected: (a, b) => known.has(`${a},${b}`),
  };
}

function inherited(nodes: number, edges: readonly Pair[], seed: number): NDArray {
  const features = zeros([nodes, WIDTH]);
  const data = features.data as Float32Array;
  random(seed, 'tree/features').fillNormal(data);
  for (let i = 0; i < data.length; i++) if (i % WIDTH >= TELLING) data[i] *= NOISE;
  // Parents come before their children.
  for (const [child, parent] of edges)
    for (let k = 0; k < TELLING; k++) data[child * WIDTH + k] += data[parent * WIDTH + k];
  return features;
}

/** By a random rotation: no coordinate alone tells anything. */
function turned({ shape, data }: NDArray, seed: number): NDArray {
  const numbers = new Float32Array(WIDTH * WIDTH);
  random(seed, 'tree/rotation').fillNormal(numbers);
  const { q } = qr({ rows: WIDTH, cols: WIDTH, data: numbers });
  const product = multiply({ rows: shape[0], cols: WIDTH, data: data as Float32Array }, q);
  return { dtype: 'float32', shape, data: product.data };
}

/** As many pairs that are no edge as there are edges: edges first, with their labels. */
export function withNonEdges(tree: Tree, edges: readonly Pair[], seed: number, stream: string) {
  const cursor = random(seed, stream).cursor();
  const nodes = tree.features.shape[0];
  const others: Pair[] = [];
  while (others.length < edges.length) {
    const [a, b] = [cursor.integer(nodes), cursor.integer(nodes)];
    if (a !== b && !tree.connected(a, b)) others.push([a, b]);
  }
  const pairs = [...edges, ...others];
  return { pairs, labels: Int32Array.from(pairs, (_, i) => Number(i < edges.length)) };
}

/** All edges of the training part with other non-edges in every step. */
export async function* treeBatches(tree: Tree, seed: number): AsyncGenerator<LabelledBatch> {
  for (let step = 0; ; step++) {
    const { pairs, labels } = withNonEdges(tree, tree.edges.train, seed, `tree/pairs/${step}`);
    const ids = Int32Array.from(pairs.flat());
    const shape = [pairs.length, 2] as const;
    const rest = { segmentIds: ids, positionIds: ids, typeIds: ids, tokens: ids.length };
    yield { shape, inputIds: ids, ...rest, labels, epoch: step, next: START };
  }
}
