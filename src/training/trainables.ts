import { type AdaptedLayer, partName, type WeightForm } from '../adapters/index.ts';
import { RankineError } from '../errors.ts';
import { type NDArray, sizeOf } from '../graph/index.ts';
import type { Architecture } from '../models/architecture.ts';
import type { Model } from '../models/model.ts';
import { type ParameterInfo, restsAt, type UpdateRule } from '../optimizers/index.ts';
import { type Adaptation, discardedWeights, factorName } from './adaptation.ts';

/** A tensor that an optimizer moves: its description and its live array. */
export interface Movable {
  readonly info: ParameterInfo;
  readonly array: NDArray;
}

/** A tensor that the run trains: programs read it, and give its gradient, as a whole. */
export interface Trainable extends Movable {
  /** Stretches of it that the optimizer moves instead; their arrays are views. */
  readonly parts?: readonly Part[];
}

/** A stretch of a tensor. */
export interface Part extends Movable {
  /** Its first element. */
  readonly from: number;
}

/** What the optimizer moves: parts where a tensor has some. */
export function movables(list: readonly Trainable[]): Movable[] {
  return list.flatMap((t): readonly Movable[] => t.parts ?? [t]);
}

/**
 * Tells of every step, counted from 1, what nothing moves in it: nobody needs those gradients.
 * @returns names of trainables
 */
export function restingTrainables(
  list: readonly Trainable[],
  rules: readonly UpdateRule[],
): (step: number) => ReadonlySet<string> {
  const ruleOf = new Map(rules.flatMap((rule) => rule.parameters.map((p) => [p.name, rule] as const)));
  const rests = (t: Trainable, step: number) =>
    movables([t]).every(({ info }) => restsAt(ruleOf.get(info.name)!, step));
  const turning = rules.some(({ idle }) => idle && !idle.update) ? list : [];
  return (step) => new Set(turning.filter((t) => rests(t, step)).map((t) => t.info.name));
}

/**
 * Everything that a run trains: a form's factors, biases and whole modules beside it; or, without a form, every weight, or
 * those of some modules.
 *
 * @param modules without a form: what is trained, by suffix (default: all)
 * @throws RankineError `training/no-module`
 */
export function trainables(
  model: Model,
  adaptation: Adaptation | undefined,
  modules?: readonly string[],
): Trainable[] {
  const { architecture } = model;
  const base = (name: string): Trainable => ({
    info: baseParameter(architecture, name),
    array: model.weights.get(name)!,
  });
  const names = [...architecture.parameters.keys()];
  if (!adaptation) {
    checkModules(architecture, modules ?? [], 'adapter.modules');
    return names.filter((name) => !modules || ofModules(name, modules, model)).map(base);
  }
  const factors = adaptation.layers.flatMap((layer) => layerFactors(adaptation.form, layer));
  checkModules(architecture, adaptation.options.modulesToSave, 'modulesToSave');
  const discarded = discardedWeights(adaptation);
  const extra = names.filter((name) => !discarded.has(name) && besideForm(name, adaptation, model));
  return [...factors, ...extra.map(base)];
}

function layerFactors(form: WeightForm, { spec, options, trainable }: AdaptedLayer): Trainable[] {
  const { parts = {} } = form.shapes(spec, options);
  return Object.entries(trainable).map(([factor, array]) => {
    const info: ParameterInfo = {
      name: factorName(spec.name, factor),
      shape: array.shape,
      role: 'factor',
      factor,
      layer: spec,
      ...(isProduct(factor) && { scale: form.productScale?.(options) }),
    };
    return { info, array, ...(parts[factor] && { parts: rowParts(info, array, parts[factor]) }) };
  });
}

/** A tensor's rows in parts of these sizes. */
function rowParts(info: ParameterInfo, array: NDArray, rows: readonly number[]): Part[] {
  const [, ...row] = array.shape;
  let from = 0;
  return rows.map((count, i) => {
    const shape = [count, ...row];
    const size = sizeOf(shape);
    const part = {
      info: { ...info, name: partName(info.name, i), shape, part: i },
      array: { ...array, shape, data: array.data.subarray(from, from + size) },
      from,
    };
    from += size;
    return part;
  });
}

/** A and B are the product's factors in every form that has one. */
function isProduct(factor: string): boolean {
  return factor === 'A' || factor === 'B';
}

function besideForm(name: string, adaptation: Adaptation, model: Model): boolean {
  const { bias, modulesToSave } = adaptation.options;
  if (ofModules(name, modulesToSave, model)) return true;
  const module = moduleOf(name);
  if (!name.endsWith('.bias') || bias === 'none') return false;
  return bias === 'all' || adaptation.layers.some((l) => l.spec.name === module);
}

/** True for a parameter of one of the modules, and for one that was drawn afresh: untrained, it is worth nothing. */
function ofModules(name: string, modules: readonly string[], model: Model): boolean {
  return modules.some((m) => within(m, moduleOf(name))) || model.fresh.includes(name);
}

function moduleOf(parameter: string): string {
  return parameter.replace(/\.[^.]+$/, '');
}

/** True for a module called `saved` at the end of its path, and for all that it contains. */
function within(saved: string, module: string): boolean {
  return `.${module}.`.includes(`.${saved}.`);
}

/** @throws RankineError `training/no-module` */
function checkModules(architecture: Architecture, named: readonly string[], field: string): void {
  const modules = [...new Set([...architecture.parameters.keys()].map(moduleOf))];
  const missing = named.find((m) => !modules.some((module) => within(m, module)));
  if (missing === undefined) return;
  const ends = [...new Set(modules.map((m) => m.replace(/^.*\.\d+\./, '')))];
  throw new RankineError(
    'training/no-module',
    `${field} names ${missing}, but no module of ${architecture.type} is called so.`,
    `Modules: ${ends.join(', ')}.`,
  );
}

function baseParameter(architecture: Architecture, name: string): ParameterInfo {
  const spec = architecture.parameters.get(name);
  if (!spec) throw new RankineError('training/unknown-parameter', `The model has no parameter ${name}.`);
  const layer = architecture.layers.find((l) => name === `${l.name}.weight`);
  return { name, shape: spec.shape, role: roleOf(name, spec.shape, layer), layer };
}

function roleOf(
  name: string,
  shape: readonly number[],
  layer: ParameterInfo['layer'],
): ParameterInfo['role'] {
  if (name.endsWith('.bias')) return 'bias';
  if (layer?.kind === 'embedding' || /embed|wte|wpe/.test(name)) return 'embedding';
  if (shape.length === 1) return 'norm';
  if (layer) return layer.block === undefined ? 'head' : 'matrix';
  return 'other';
}

/** How many numbers are trained. */
export function countTrainable(list: readonly Trainable[]): number {
  return list.reduce((n, t) => n + t.array.data.length, 0);
}
