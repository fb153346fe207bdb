import { sizeOf } from '../graph/array.ts';
import type { Architecture, LayerSpec, Task } from './architecture.ts';

/** Parameters of a part of the model. */
export interface ParameterGroup {
  readonly name: 'embeddings' | 'blocks' | 'norm' | 'head';
  readonly parameters: number;
}

/** Layers of one name in all blocks, as targets of low-rank methods are named. */
export interface LayerGroup {
  /** Last part of the names that is the same in all blocks, e.g. `q_proj`; ambiguous ones keep more, e.g. `attention.output.dense`. */
  readonly target: string;
  readonly kind: LayerSpec['kind'];
  readonly out: number;
  readonly in: number;
  readonly count: number;
  /** Full name of the first. */
  readonly example: string;
}

export interface ModelInfo {
  readonly type: string;
  readonly task: Task;
  readonly blocks: number;
  readonly maxLength?: number;
  readonly vocabulary?: number;
  readonly parameters: number;
  readonly groups: readonly ParameterGroup[];
  readonly layers: readonly LayerGroup[];
}

/** What `rankine info` shows: parameter counts by part, and the layers that can be targeted. Needs no weights. */
export function modelInfo(architecture: Architecture): ModelInfo {
  const { type, task, blocks, maxLength, vocabulary } = architecture;
  const groups = parameterGroups(architecture);
  const parameters = groups.reduce((total, group) => total + group.parameters, 0);
  const layers = layerGroups(architecture.layers);
  return { type, task, blocks, maxLength, vocabulary, parameters, groups, layers };
}

function parameterGroups(architecture: Architecture): ParameterGroup[] {
  const totals = new Map<ParameterGroup['name'], number>();
  let group: ParameterGroup['name'] = 'embeddings';
  for (const [name, spec] of architecture.parameters) {
    group = groupOf(name, spec.head === true, group);
    totals.set(group, (totals.get(group) ?? 0) + sizeOf(spec.shape));
  }
  return [...totals].map(([name, parameters]) => ({ name, parameters }));
}

/** Parameters stand in the order embeddings, blocks, last norm, head: what comes behind the blocks is no embedding. */
function groupOf(name: string, head: boolean, before: ParameterGroup['name']): ParameterGroup['name'] {
  if (/(^|\.)(layers|layer|h)\.\d+\./.test(name)) return 'blocks';
  if (head || name.startsWith('lm_head.')) return 'head';
  return before === 'embeddings' ? 'embeddings' : 'norm';
}

function layerGroups(layers: readonly LayerSpec[]): LayerGroup[] {
  const groups = new Map<string, LayerSpec[]>();
  for (const layer of layers) {
    const key = withoutBlock(layer.name);
    groups.set(key, [...(groups.get(key) ?? []), layer]);
  }
  const names = [...groups.keys()];
  return [...groups].map(([name, members]) => {
    const [{ kind, out, in: inputs, name: example }] = members;
    return { target: shortest(name, names), kind, out, in: inputs, count: members.length, example };
  });
}

/** The name below the block: `model.layers.3.mlp.up_proj` → `mlp.up_proj`. */
function withoutBlock(name: string): string {
  return name.replace(/^.*\.\d+\./, '');
}

/** The shortest ending, in whole parts, that no other name has. */
function shortest(name: string, names: readonly string[]): string {
  const parts = name.split('.');
  for (let n = 1; n < parts.length; n++) {
    const ending = parts.slice(-n).join('.');
    if (names.filter((other) => other === ending || other.endsWith(`.${ending}`)).length === 1) return ending;
  }
  return name;
}
