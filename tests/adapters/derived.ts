import { type AdapterOptions, type FormSteps, forms, type StepInfo } from '../../src/adapters/index.ts';
import type { Engine } from '../../src/engine/index.ts';
import { openTensorFile } from '../../src/formats/index.ts';
import type { NDArray } from '../../src/graph/index.ts';
import type { Random } from '../../src/linalg/index.ts';
import { type Adaptation, adapt, storeWeight } from '../../src/training/adaptation.ts';
import { parseRecipe } from '../../src/training/recipe.ts';
import { estimateStatistics } from '../../src/training/statistics.ts';
import { type GoldenModel, goldenModel } from '../golden-models.ts';
import { feedOf } from './peft.ts';

type Arrays = Readonly<Record<string, NDArray>>;

/** Training that scripts/reference/adapters/derived.py derived from a method's paper. */
export interface Derived {
  readonly base: string;
  readonly form: string;
  readonly options: Record<string, unknown>;
  readonly rate: number;
  /** What training starts from, by `layer#factor`. */
  readonly start: Arrays;
  /** Frozen weights that replace the model's, by layer. */
  readonly bases: Arrays;
  /** Numbers that the method draws, by `step/purpose/counter`. */
  readonly random: Arrays;
  readonly losses: readonly number[];
}

export async function derivedRecord(name: string): Promise<Derived> {
  const path = new URL(`../golden/adapters/derived-${name}.safetensors`, import.meta.url).pathname;
  const file = await openTensorFile(path);
  const part = async (prefix: string) => {
    const names = [...file.tensors.keys()].filter((n) => n.startsWith(prefix));
    return Object.fromEntries(
      await Promise.all(names.map(async (n) => [n.slice(prefix.length), await file.read(n)] as const)),
    );
  };
  const { base, form, options, rate } = file.metadata;
  const record = {
    base,
    form,
    options: JSON.parse(options),
    rate: Number(rate),
    start: await part('start/'),
    bases: await part('base/'),
    random: await part('random/'),
    losses: [...(await file.read('losses')).data].map(Number),
  };
  await file.close();
  return record;
}

/** The form on the model as it starts by itself, with whatever it wants measured. */
export async function ownStart(record: Derived, golden: GoldenModel, engine: Engine): Promise<Adaptation> {
  const form = forms.find((f) => f.name === record.form)!;
  const options = form.options.parse(record.options) as AdapterOptions;
  const batches = form.needs?.(options).gradient?.batches;
  const recipe = parseRecipe({ model: 'none', data: 'none' });
  const parts = { engine, model: golden.model, form, options, feed: feedOf(golden), recipe };
  const statistics = batches === undefined ? undefined : await estimateStatistics(parts, batches);
  return adapt(golden.model, form, options, { seed: 0, firstRate: record.rate, statistics });
}

/** Puts the derivation's start in place of the form's own, and its numbers in place of those that the steps draw. */
export function startAsDerived(record: Derived, { model }: GoldenModel, own: Adaptation): Adaptation {
  const expected = new Set(Object.keys(record.start));
  for (const { spec, trainable, frozen } of own.layers) {
    for (const [name, array] of Object.entries({ ...frozen, ...trainable })) {
      const given = record.start[`${spec.name}#${name}`];
      if (!given) continue;
      if (`${given.shape}` !== `${array.shape}`) throw new Error(`${spec.name}#${name}: [${given.shape}]`);
      (array.data as Float32Array).set(given.data as Float32Array);
      expected.delete(`${spec.name}#${name}`);
    }
    if (record.bases[spec.name]) storeWeight(model, spec, record.bases[spec.name]);
  }
  if (expected.size > 0) throw new Error(`not taken: ${[...expected]}`);
  return { ...own, steps: own.steps && drawing(own.steps, record) };
}

function drawing(steps: FormSteps, { random }: Derived): FormSteps {
  const told = (info: StepInfo): StepInfo => ({
    ...info,
    random: (purpose) => {
      const give = (out: Float32Array | Float64Array, counter: number | bigint = 0) => {
        const numbers = random[`${info.step}/${purpose}/${counter}`];
        if (numbers?.data.length !== out.length)
          throw new Error(`not derived: ${info.step}/${purpose}/${counter}`);
        out.set(numbers.data as Float64Array);
      };
      return { fillUniform: give, fillNormal: give } as unknown as Random;
    },
  });
  const { beforeStep, afterGradient, afterStep } = steps;
  return {
    ...steps,
    ...(beforeStep && { beforeStep: (info) => beforeStep(told(info)) }),
    ...(afterGradient && { afterGradient: (info) => afterGradient(told(info)) }),
    ...(afterStep && { afterStep: (info) => afterStep(told(info)) }),
  };
}

export { goldenModel };
