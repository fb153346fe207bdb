import type { Model } from '../models/index.ts';
import type { Adaptation } from './adaptation.ts';
import { moduleOf, nameInBlocks } from './modules.ts';
import type { Recipe } from './recipe.ts';
import type { Trainable } from './trainables.ts';

/**
 * Says which modules of a model that starts at random keep what was drawn for them: neither does the form change them, nor
 * are they trained beside it.
 */
export function frozenAtRandom(
  recipe: Pick<Recipe, 'model' | 'adapter'>,
  { architecture }: Model,
  adaptation: Adaptation | undefined,
  trained: readonly Pick<Trainable, 'info'>[],
): string[] {
  if (recipe.model.init !== 'random') return [];
  const moves = new Set(trained.map((t) => t.info.name));
  for (const { spec } of adaptation?.layers ?? []) moves.add(`${spec.name}.weight`);
  const frozen = [...architecture.parameters]
    .filter(([name, { init }]) => typeof init === 'object' && !moves.has(name))
    .map(([name]) => moduleOf(name));
  if (frozen.length === 0) return [];
  const named = nameInBlocks(frozen).join(', ');
  const field = adaptation ? 'modulesToSave' : 'modules';
  return [
    `${recipe.adapter.method}: the model starts at random, and these modules stay as they were drawn: ${named}. To train them in full, name them in adapter.${field}: [${named}].`,
  ];
}
