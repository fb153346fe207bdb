import { random } from '../src/linalg/index.ts';
import { buildResult, parseStudy, type StudyState } from '../src/studies/index.ts';
import { runRecipe, studyMethods } from '../src/studies/methods.ts';
import type { Curve, RunPurpose, Scores, StudyResult, StudyRun } from '../src/studies/results.ts';

/** How a made-up method behaves: enough to draw a study that looks like a real one. */
interface Character {
  readonly name: string;
  /** Share of test examples that it gets right with tuned and with default settings. */
  readonly quality: readonly [tuned: number, standard: number];
  readonly megabytes: number;
  readonly seconds: number;
  readonly trainable: number;
  /** What becomes of its second seed under default settings. */
  readonly fails?: 'diverged' | 'out-of-memory' | 'failed';
}

const CHARACTERS: readonly Character[] = [
  { name: 'lora', quality: [0.874, 0.861], megabytes: 312, seconds: 94, trainable: 369_920 },
  { name: 'dora', quality: [0.879, 0.866], megabytes: 388, seconds: 131, trainable: 368_200 },
  { name: 'pissa', quality: [0.883, 0.859], megabytes: 315, seconds: 97, trainable: 369_920 },
  { name: 'salt', quality: [0.886, 0.795], megabytes: 402, seconds: 118, trainable: 369_920 },
  { name: 'lora-xs', quality: [0.862, 0.855], megabytes: 296, seconds: 84, trainable: 371_000 },
  { name: 'vera', quality: [0.741, 0.652], megabytes: 331, seconds: 102, trainable: 41_984 },
  { name: 'randlora', quality: [0.83, 0.8], megabytes: 421, seconds: 156, trainable: 364_544 },
  {
    name: 'adalora',
    quality: [0.858, 0.83],
    megabytes: 347,
    seconds: 121,
    trainable: 366_080,
    fails: 'diverged',
  },
  { name: 'increlora', quality: [0.851, 0.842], megabytes: 352, seconds: 168, trainable: 361_000 },
  { name: 'nola', quality: [0.702, 0.55], megabytes: 365, seconds: 241, trainable: 368_640, fails: 'failed' },
  { name: 'bone', quality: [0.869, 0.831], megabytes: 305, seconds: 89, trainable: 352_256 },
  {
    name: 'full',
    quality: [0.891, 0.884],
    megabytes: 611,
    seconds: 203,
    trainable: 4_152_064,
    fails: 'out-of-memory',
  },
];

export interface MadeStudy {
  readonly seeds?: number;
  readonly tuned?: boolean;
  readonly metric?: 'accuracy' | 'loss';
  /** Runs that have ended; the others are still to come. */
  readonly done?: number;
  readonly examples?: number;
  readonly question?: string;
  /** Instead of the first method's name. */
  readonly label?: string;
}

/** A study of twelve methods with scores drawn at random: statistics and verdict are the real ones. */
export function madeStudy(options: MadeStudy = {}): StudyResult {
  return buildResult(madeState(options));
}

function madeState(options: MadeStudy): StudyState {
  const { seeds = 3, tuned = true, metric = 'accuracy', label } = options;
  const study = parseStudy({
    name: 'dates',
    question: options.question ?? 'Which adapter writes dates best with 370,000 trained numbers?',
    recipe: {
      model: 'quickstart/base',
      data: { train: 'quickstart/data/train.jsonl', holdOut: 0.1, maxLength: 48 },
      optimizer: 'adamw',
      batch: 64,
      steps: 250,
    },
    methods: CHARACTERS.map(({ name }, i) =>
      i === 0 && label !== undefined ? { label, adapter: { method: name } } : name,
    ),
    budget: { trainable: 372_000 },
    seeds,
    ...(tuned ? { tuning: { trials: 8, rate: [1e-4, 1e-2] } } : {}),
    test: 'quickstart/data/test.jsonl',
    metric,
  });
  const curves = new Map<string, readonly Curve[]>();
  const planned = studyMethods(study).map((method, i) => {
    const { name, trainable, megabytes } = CHARACTERS[i];
    const chosen = name === 'full' ? {} : { 'adapter.rank': 16 };
    return {
      method,
      settings: chosen,
      row: {
        ...{ method: method.id, label: method.label, fits: name !== 'full', chosen, trainable },
        reason: name === 'full' ? 'It trains 4,152,064 numbers at least; the budget is 372,000.' : undefined,
        predictedMemory: megabytes * 1e6 * (0.93 + 0.012 * i),
        steps: 250,
      },
    };
  });
  const purposes: RunPurpose[] = tuned ? ['default', 'tuned'] : ['default'];
  const runs = planned.flatMap(({ method, row }, i) =>
    purposes.flatMap((purpose) =>
      study.seeds.map((seed): StudyRun => {
        const settings = purpose === 'tuned' ? { rate: 0.004, 'optimizer.weightDecay': 0.02 } : {};
        const folder = `studies/dates/runs/${method.id}-${purpose}-${seed}`;
        const recipe = runRecipe(study, method, method.id === 'full' ? {} : settings, {
          seed,
          output: folder,
        });
        const run = madeRun(CHARACTERS[i], { method: method.id, purpose, seed, recipe, folder }, options);
        curves.set(run.key, madeCurves(CHARACTERS[i], run));
        return { ...run, predictedMemory: row.predictedMemory };
      }),
    ),
  );
  return {
    study,
    planned: planned.map((p) => ({ ...p, row: { ...p.row, fits: true } })),
    runs: runs.slice(0, options.done),
    tuned: new Map(planned.map(({ method }) => [method.id, { rate: 0.004, 'optimizer.weightDecay': 0.02 }])),
    curves,
    total: runs.length,
  };
}

type Asked = Pick<StudyRun, 'method' | 'purpose' | 'seed' | 'recipe' | 'folder'>;

function madeRun(
  character: Character,
  asked: Asked,
  { metric = 'accuracy', examples = 600 }: MadeStudy,
): StudyRun {
  const { purpose, seed, method } = asked;
  const { megabytes, seconds, trainable, fails } = character;
  const base: StudyRun = {
    ...asked,
    key: `${method}-${purpose}-${seed}`.padEnd(64, '0'),
    state: 'done',
    hardware: { processor: 'Some Processor', cores: 2, threads: 2 },
    versions: { rankine: '0.1.0', node: '20.20.0' },
    modelHash: 'a'.repeat(64),
    dataHash: 'b'.repeat(64),
  };
  if (fails && purpose === 'default' && seed === 2) return { ...base, state: fails, reason: REASONS[fails] };
  const wobble = 1 + 0.02 * Math.sin(seed * 7 + megabytes);
  return {
    ...base,
    trainable,
    size: trainable * 4 + 1200,
    measured: { peakMemory: megabytes * 1e6 * wobble, wall: seconds * wobble, processor: seconds * 1.8 },
    scores: [madeScores(character, base, metric, examples)],
    forgetting: { before: 2.7, after: 2.7 + 0.3 * character.quality[0] * wobble - 0.2 },
  };
}

const REASONS = {
  diverged: 'The loss is not finite at update 61. [training/not-finite]',
  failed: 'Its process ended with code 1. <b>Error</b>: "x" & y',
  'out-of-memory': 'It took more than the cap of 600 MB.',
} as const;

function madeScores(
  character: Character,
  run: StudyRun,
  metric: 'accuracy' | 'loss',
  examples: number,
): Scores {
  const [tuned, standard] = character.quality;
  const level =
    (run.purpose === 'tuned' ? tuned : standard) + 0.006 * Math.sin(run.seed * 3 + character.seconds);
  // What is hard is hard for every method: draws belong to the examples.
  const draws = new Float64Array(examples);
  const own = new Float64Array(examples);
  random(1, 'made/examples').fillUniform(draws);
  random(run.seed, `made/${run.key}`).fillUniform(own);
  const values = Array.from(draws, (u, i) => {
    const right = 0.85 * u + 0.15 * own[i] < level;
    return metric === 'accuracy' ? Number(right) : 0.4 + 2.4 * (1 - level) + 0.5 * u + 0.2 * own[i];
  });
  const mean = values.reduce((a, b) => a + b, 0) / examples;
  return { metric, direction: metric === 'accuracy' ? 'max' : 'min', mean, examples: values };
}

const LAYERS = Array.from({ length: 4 }, (_, i) => i).flatMap((i) =>
  ['self_attn.q_proj', 'self_attn.v_proj', 'mlp.up_proj', 'mlp.down_proj'].map(
    (n) => `model.layers.${i}.${n}`,
  ),
);

function madeCurves({ quality, fails }: Character, { purpose, seed, method }: StudyRun): Curve[] {
  const steps = Array.from({ length: 50 }, (_, i) => 5 * (i + 1));
  const level = purpose === 'tuned' ? quality[0] : quality[1];
  const noise = new Float64Array(steps.length);
  random(seed, `made/noise/${method}/${purpose}`).fillNormal(noise);
  const ends = fails === 'diverged' && purpose === 'default' && seed === 2 ? 12 : steps.length;
  const loss = (step: number) => 0.25 + 2 * (1 - level) + 2.6 * Math.exp(-step / (30 + 40 * (1 - level)));
  const training = steps
    .slice(0, ends)
    .map((s, i) => (i === 11 && ends === 12 ? Number.NaN : loss(s) + 0.05 * noise[i]));
  const evaluated = steps.slice(0, ends).filter((_, i) => i % 5 === 4);
  return [
    { name: 'train/loss', steps: steps.slice(0, ends), values: training },
    { name: 'eval/loss', steps: evaluated, values: evaluated.map((s) => loss(s) + 0.04 + 0.01 * seed) },
    ...(method === 'increlora' ? rankCurves(steps) : []),
    ...(method === 'adalora'
      ? [{ name: 'adalora/live', steps, values: steps.map((s) => 384 - Math.floor(s / 2)) }]
      : []),
  ];
}

function rankCurves(steps: readonly number[]): Curve[] {
  return LAYERS.map((layer, i) => {
    const values = steps.map((step) => 4 + Math.floor((step / 250) * (2 + ((i * 7) % 15))));
    return { name: `increlora/rank/${layer}`, steps, values };
  });
}
