import { RankineError } from '../errors.ts';
import type { Architecture, LayerSpec } from '../models/architecture.ts';

/** PEFT's rule for patterns: a key matches a whole path, or its end after a dot; keys are regular expressions. */
export function matchesPattern(pattern: string, name: string): boolean {
  return new RegExp(`^(?:.*\\.)?(?:${pattern})$`).test(name);
}

function matchesSelection(selection: string | readonly string[], name: string): boolean {
  if (typeof selection === 'string') return compile(selection).test(name);
  return selection.some((suffix) => name === suffix || name.endsWith(`.${suffix}`));
}

function compile(expression: string): RegExp {
  try {
    return new RegExp(`^(?:${expression})$`);
  } catch (cause) {
    throw new RankineError(
      'adapters/target-expression',
      `The target expression "${expression}" is no regular expression: ${(cause as Error).message}.`,
      'A list of names is matched by suffix; a single string is an expression over the whole path.',
      { cause },
    );
  }
}

/**
 * Layers that a selection names, as PEFT reads `target_modules`: a list is matched by whole name or suffix, a string is
 * a regular expression over the whole path, `all-linear` is every linear layer inside the blocks.
 *
 * @throws RankineError `adapters/no-target` naming what could have been targeted, `adapters/target-kind`
 */
export function selectLayers(
  architecture: Architecture,
  selection: string | readonly string[],
  exclude: string | readonly string[] | undefined,
  kinds: readonly LayerSpec['kind'][],
): LayerSpec[] {
  const all = selection === 'all-linear' || (Array.isArray(selection) && selection[0] === 'all-linear');
  const chosen = architecture.layers.filter(
    (layer) =>
      (all
        ? layer.kind === 'linear' && layer.block !== undefined
        : matchesSelection(selection, layer.name)) && !(exclude && matchesSelection(exclude, layer.name)),
  );
  if (chosen.length === 0) throw noTarget(architecture, selection);
  const unfit = chosen.find((layer) => !kinds.includes(layer.kind));
  if (unfit)
    throw new RankineError(
      'adapters/target-kind',
      `The layer ${unfit.name} is of kind ${unfit.kind}; this method adapts ${kinds.join(' and ')} layers.`,
      'Exclude it.',
    );
  return chosen;
}

function noTarget(architecture: Architecture, selection: string | readonly string[]): RankineError {
  const suffixes = [...new Set(architecture.layers.map((l) => l.name.replace(/^.*\.\d+\./, '')))];
  return new RankineError(
    'adapters/no-target',
    `No layer of ${architecture.type} matches ${JSON.stringify(selection)}.`,
    `Layers: ${suffixes.join(', ')}; or all-linear.`,
  );
}
