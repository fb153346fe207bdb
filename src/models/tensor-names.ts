import type { Architecture } from './architecture.ts';

/**
 * Finds each parameter among the names of a checkpoint, as transformers does: the name itself, else without or with the
 * base model's prefix; `LayerNorm.gamma` and `LayerNorm.beta` of the first BERT checkpoints are weight and bias.
 *
 * @param prefix with its dot, e.g. `model.`
 * @returns stored names by parameter names
 */
export function matchNames(
  stored: Iterable<string>,
  architecture: Architecture,
  prefix: string,
): Map<string, string> {
  const { parameters } = architecture;
  const result = new Map<string, string>();
  const shifted: [name: string, source: string][] = [];
  for (const source of stored) {
    const name = modernName(source);
    if (parameters.has(name)) result.set(name, source);
    else shifted.push([name.startsWith(prefix) ? name.slice(prefix.length) : prefix + name, source]);
  }
  // An exact name wins over a shifted one.
  for (const [name, source] of shifted)
    if (parameters.has(name) && !result.has(name)) result.set(name, source);
  return result;
}

function modernName(name: string): string {
  return name.replace(/LayerNorm\.gamma$/, 'LayerNorm.weight').replace(/LayerNorm\.beta$/, 'LayerNorm.bias');
}

/** Tensors of checkpoints that are no weights: masks, rotation tables, counters. */
export function isBuffer(name: string): boolean {
  return /(^|\.)((attn|attention)\.(masked_)?bias|rotary_emb\.inv_freq|position_ids|token_type_ids)$/.test(
    name,
  );
}
