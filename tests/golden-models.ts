import { readdirSync } from 'node:fs';
import { checkpointFrom, type JsonObject, openTensorFile } from '../src/formats/index.ts';
import type { NDArray } from '../src/graph/array.ts';
import {
  crossEntropy,
  input,
  linear,
  linearCrossEntropy,
  mul,
  reshape,
  sum,
  type Tensor,
} from '../src/graph/index.ts';
import { type BatchInputs, type HeadOutput, type Model, modelFrom } from '../src/models/index.ts';

type Inputs = Readonly<Record<string, NDArray>>;

const FOLDER = new URL('./golden/models/', import.meta.url).pathname;

/** A tiny random model that transformers ran (scripts/reference/models/record.py). */
export interface GoldenModel {
  readonly name: string;
  readonly model: Model;
  /** As transformers names them: `input_ids`, `attention_mask`, `token_type_ids`, `pixel_values`, `labels`, `direction`. */
  readonly inputs: Inputs;
  /** What the loss needs beside the batch: `targets` and `weights`, or `direction`. */
  readonly targets: Readonly<Record<string, NDArray>>;
  readonly output: NDArray;
  readonly loss: number;
  /** By checkpoint name. */
  readonly gradients: Readonly<Record<string, NDArray>>;
}

export function goldenModelNames(): string[] {
  return readdirSync(FOLDER)
    .filter((file) => file.endsWith('.safetensors'))
    .map((file) => file.replace('.safetensors', ''));
}

export async function goldenModel(name: string): Promise<GoldenModel> {
  const file = await openTensorFile(`${FOLDER}${name}.safetensors`);
  const config = JSON.parse(file.metadata.config) as JsonObject;
  const part = async (prefix: string) => {
    const names = [...file.tensors.keys()].filter((n) => n.startsWith(prefix));
    const arrays = await Promise.all(
      names.map(async (n) => [n.slice(prefix.length), await file.read(n)] as const),
    );
    return Object.fromEntries(arrays);
  };
  const weights = await part('weight/');
  const tensors = Object.entries(weights).map(([n, a]) => ({ name: n, shape: a.shape, read: () => a }));
  const inputs = await part('input/');
  const golden = {
    name,
    model: await modelFrom(checkpointFrom(name, { config, tensors })),
    inputs,
    targets: targetsOf(inputs),
    output: await file.read('output'),
    loss: Number((await file.read('loss')).data[0]),
    gradients: await part('gradient/'),
  };
  await file.close();
  return golden;
}

function targetsOf(inputs: Inputs): Record<string, NDArray> {
  if (inputs.direction) return { direction: inputs.direction };
  return inputs.labels ? labels(inputs) : nextTokens(inputs);
}

/** Feeds of a batch under our names; `positions` adds the positions that are meant without them. */
export function batchFeeds(
  { inputs }: GoldenModel,
  options: { positions?: boolean } = {},
): Record<string, NDArray> {
  if (inputs.pixel_values) return { pixels: inputs.pixel_values };
  const feeds: Record<string, NDArray> = { ids: inputs.input_ids, segments: inputs.attention_mask };
  if (inputs.token_type_ids) feeds.types = inputs.token_type_ids;
  if (options.positions) feeds.positions = positionsOf(inputs.input_ids);
  return feeds;
}

function positionsOf(ids: NDArray): NDArray {
  const length = BigInt(ids.shape[1]);
  return { ...ids, data: BigInt64Array.from({ length: ids.data.length }, (_, i) => BigInt(i) % length) };
}

/** Symbolic inputs for feeds. */
export function batchInputs(feeds: Readonly<Record<string, NDArray>>): BatchInputs {
  return Object.fromEntries(
    Object.entries(feeds).map(([name, a]) => [name, input(name, a.shape, a.dtype)]),
  ) as BatchInputs;
}

/** Scores [B, T, V], class scores [B, C] or vectors [B, d]. */
export function outputTensor(head: HeadOutput): Tensor {
  if (head.kind === 'vectors') return head.vectors;
  return head.kind === 'tokens' ? linear(head.hidden, head.weight, head.bias) : head.logits;
}

/** The loss that was recorded; its inputs are the golden's `targets`. */
export function goldenLoss(golden: GoldenModel, head: HeadOutput): Tensor {
  const fed = (name: string) => {
    const { shape, dtype } = golden.targets[name];
    return input(name, shape, dtype);
  };
  if (head.kind === 'vectors') return sum(mul(head.vectors, fed('direction')));
  const rows = (x: Tensor) => reshape(x, [-1, x.shape[x.shape.length - 1]]);
  if (head.kind === 'tokens')
    return linearCrossEntropy(rows(head.hidden), head.weight, fed('targets'), fed('weights'));
  return crossEntropy(rows(head.logits), fed('targets'), fed('weights'));
}

/** Every position is to say the next token of its row, padding left out; the mean over all. */
function nextTokens(inputs: Inputs): Record<string, NDArray> {
  const { input_ids: ids, attention_mask: mask } = inputs;
  const [, length] = ids.shape;
  const counted = Float32Array.from({ length: ids.data.length }, (_, i) =>
    (i + 1) % length === 0 ? 0 : Number(mask.data[i + 1]),
  );
  const total = counted.reduce((a, b) => a + b);
  const next = BigInt64Array.from({ length: ids.data.length }, (_, i) => BigInt(ids.data[i + 1] ?? 0));
  return {
    targets: { dtype: 'int64', shape: [ids.data.length], data: next },
    weights: { dtype: 'float32', shape: [ids.data.length], data: counted.map((x) => x / total) },
  };
}

function labels(inputs: Inputs): Record<string, NDArray> {
  const size = inputs.labels.data.length;
  const weights = new Float32Array(size).fill(1 / size);
  return { targets: inputs.labels, weights: { dtype: 'float32', shape: [size], data: weights } };
}

/** Positions of `output` that are tokens: transformers computes something for padding too, which nothing reads. */
export function isToken({ inputs, output }: GoldenModel, i: number): boolean {
  if (output.shape.length < 3) return true;
  return Number(inputs.attention_mask.data[Math.floor(i / output.shape[2])]) === 1;
}
