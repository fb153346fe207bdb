import { type AdapterOptions, forms, resolveOptions, selectLayers } from '../adapters/index.ts';
import type { DType, NDArray, Shape } from '../graph/index.ts';
import { allocate } from '../graph/index.ts';
import { architectureOf, type Model, type ModelConfig } from '../models/index.ts';
import { optimizers, type UpdateRule } from '../optimizers/index.ts';
import type { Adaptation } from './adaptation.ts';
import type { Traced } from './execution.ts';
import { FULL, type Recipe, trainedModules } from './recipe.ts';
import { byName } from './recipe-errors.ts';
import { movables, trainables } from './trainables.ts';

/** A run of which nothing but names, shapes and types exists. */
export interface RunShapes extends Traced {
  readonly rules: readonly UpdateRule[];
  /** Bytes that the form's steps keep. */
  readonly formState: number;
}

/**
 * What a recipe's run will hold, without any of it: enough to trace its programs and count its memory.
 *
 * @throws RankineError those of `architectureOf`, `selectLayers`, the form's `shapes` and the optimizer's `rules`
 */
export function runShapes(recipe: Recipe, config: ModelConfig): RunShapes {
  const model = shapeOnlyModel(recipe.model, config);
  const adapted = shapeOnlyAdaptation(recipe, model);
  const list = trainables(model, adapted?.adaptation, trainedModules(recipe));
  const { method, options } = recipe.optimizer;
  const rules = byName(optimizers, method, 'optimizer', []).rules(
    movables(list).map((t) => t.info),
    options,
    recipe.seed,
  );
  return {
    model,
    adaptation: adapted?.adaptation,
    trainables: list,
    rules,
    formState: adapted?.state ?? 0,
  };
}

/** The model without its numbers. A pretrained classifier's head is taken as drawn afresh: it is trained too. */
export function shapeOnlyModel(spec: Recipe['model'], config: ModelConfig): Model {
  const architecture = architectureOf(config, spec.task);
  const parameters = [...architecture.parameters];
  return {
    architecture,
    config,
    weights: new Map(parameters.map(([name, { shape }]) => [name, declared(shape)])),
    fresh: spec.init === 'random' ? [] : parameters.filter(([, p]) => p.head).map(([name]) => name),
    notices: [],
  };
}

function shapeOnlyAdaptation(
  recipe: Recipe,
  model: Model,
): { adaptation: Adaptation; state: number } | undefined {
  if (recipe.adapter.method === FULL) return undefined;
  const form = byName(forms, recipe.adapter.method, 'adapter', [FULL]);
  const options = recipe.adapter.options as AdapterOptions;
  const shared = new Map<string, NDArray>();
  let state = 0;
  const specs = selectLayers(model.architecture, options.targets, options.exclude, form.kinds);
  const layers = specs.map((spec) => {
    const own = resolveOptions(options, spec);
    const shapes = form.shapes(spec, own);
    state += 4 * (shapes.state ?? 0);
    const arrays = (list: Readonly<Record<string, Shape>>) =>
      Object.fromEntries(
        Object.entries(list).map(([name, shape]) => {
          const dtype = shapes.dtypes?.[name];
          if (!shapes.shared?.includes(name)) return [name, declared(shape, dtype)];
          const key = `${name}:${shape}`;
          shared.set(key, shared.get(key) ?? declared(shape, dtype));
          return [name, shared.get(key)!];
        }),
      );
    return { spec, options: own, trainable: arrays(shapes.trainable), frozen: arrays(shapes.frozen) };
  });
  // On no layers: which hooks the steps have, not what they keep.
  return { adaptation: { form, options, layers, steps: form.steps?.(options, []) }, state };
}

/** An array's description. Its data is empty whatever its shape: only what asks for shapes may see it. */
function declared(shape: Shape, dtype: DType = 'float32'): NDArray {
  return { dtype, shape, data: allocate(dtype, 0) };
}
