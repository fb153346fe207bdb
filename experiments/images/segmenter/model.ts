import { add, reshape, type Tensor, transpose } from '../../../src/graph/index.ts';
import { activation } from '../../../src/models/activation.ts';
import { splitJoint } from '../../../src/models/attention.ts';
import {
  type Architecture,
  attention,
  type Context,
  drawParameter,
  type LayerSpec,
  type Model,
  type ParameterSpec,
} from '../../../src/models/index.ts';
import { namedLayerNorm } from '../../../src/models/positions.ts';
import { AREA, SIDE } from './pictures.ts';

const [HEADS, PATCH] = [4, 8];
const GRID = SIDE / PATCH;
const TOKENS = GRID * GRID;
const EPS = 1e-6;
const STD = 0.02;

export interface Size {
  readonly width: number;
  readonly blocks: number;
}

/**
 * A segmenter in the manner of SAM's image encoder: patches, Transformer blocks with joint qkv, a neck of one 3×3
 * convolution over the grid of tokens, and for each token the log-odds of its PATCH² pixels. 2.2 M weights
 * of width 192.
 */
export function segmenter(seed: number, { width, blocks }: Size = { width: 192, blocks: 4 }): Model {
  const layers: LayerSpec[] = [];
  const parameters = new Map<string, ParameterSpec>();
  const tensor = (name: string, shape: readonly number[], init: ParameterSpec['init']) =>
    parameters.set(name, { shape, init });
  const layer = (spec: LayerSpec) => {
    layers.push({ ...spec, bias: true });
    tensor(`${spec.name}.weight`, [spec.out, spec.in, ...(spec.kernel ?? [])], { normal: STD });
    tensor(`${spec.name}.bias`, [spec.out], 'zeros');
  };
  const norm = (name: string) => {
    tensor(`${name}.weight`, [width], 'ones');
    tensor(`${name}.bias`, [width], 'zeros');
  };
  layer({ name: 'patch', kind: 'conv2d', out: width, in: 1, kernel: [PATCH, PATCH] });
  tensor('positions', [1, TOKENS, width], { normal: STD });
  for (let block = 0; block < blocks; block++) {
    const linear = (name: string, out: number, inputs: number) =>
      layer({ name: `blocks.${block}.${name}`, kind: 'linear', out, in: inputs, block });
    norm(`blocks.${block}.norm1`);
    linear('qkv', 3 * width, width);
    linear('proj', width, width);
    norm(`blocks.${block}.norm2`);
    linear('fc1', 4 * width, width);
    linear('fc2', width, 4 * width);
  }
  layer({ name: 'neck', kind: 'conv2d', out: width, in: width, kernel: [3, 3] });
  norm('norm');
  layer({ name: 'head', kind: 'linear', out: PATCH * PATCH, in: width });
  const architecture: Architecture = {
    ...{ type: 'segmenter', task: 'image-classification', parameters, layers, blocks: blocks },
    embed: (c, { pixels }) => embed(c, pixels!),
    block,
    head: (c, x) => ({ kind: 'classes', logits: pixelOdds(c, x) }),
  };
  const weights = new Map([...parameters].map(([name, spec]) => [name, drawParameter(name, spec, seed)]));
  return { architecture, config: { model_type: architecture.type }, weights, fresh: [], notices: [] };
}

/** [B, 1, SIDE, SIDE] → [B, TOKENS, width]. */
function embed(c: Context, pixels: Tensor): Tensor {
  const grid = c.conv2d('patch', pixels, { stride: [PATCH, PATCH] });
  const tokens = transpose(reshape(grid, [pixels.shape[0], grid.shape[1], TOKENS]), [0, 2, 1]);
  return add(tokens, c.parameter('positions'));
}

const gelu = activation('gelu');

function block(c: Context, index: number, x: Tensor): Tensor {
  const at = `blocks.${index}`;
  const joint = c.linear(`${at}.qkv`, namedLayerNorm(c, `${at}.norm1`, x, EPS));
  const [q, k, v] = splitJoint(joint, 3, HEADS);
  const headDim = x.shape[2] / HEADS;
  const attended = attention(
    c,
    q,
    k,
    v,
    {},
    {
      ...{ block: index, heads: HEADS, kvHeads: HEADS, headDim },
      ...{ scale: headDim ** -0.5, causal: false },
    },
  );
  const h = add(x, c.linear(`${at}.proj`, attended));
  const inner = gelu(c.linear(`${at}.fc1`, namedLayerNorm(c, `${at}.norm2`, h, EPS)));
  return add(h, c.linear(`${at}.fc2`, inner));
}

/** The log-odds of every pixel, [B, AREA] row by row. */
function pixelOdds(c: Context, x: Tensor): Tensor {
  const [count, , width] = x.shape;
  const grid = reshape(transpose(x, [0, 2, 1]), [count, width, GRID, GRID]);
  const mixed = c.conv2d('neck', grid, { padding: [1, 1] });
  const tokens = transpose(reshape(mixed, [count, width, TOKENS]), [0, 2, 1]);
  const odds = c.linear('head', gelu(namedLayerNorm(c, 'norm', add(x, tokens), EPS)));
  const patches = reshape(odds, [count, GRID, GRID, PATCH, PATCH]);
  return reshape(transpose(patches, [0, 1, 3, 2, 4]), [count, AREA]);
}
