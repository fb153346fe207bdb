import { RankineError } from '../errors.ts';
import type { Architecture, Task } from './architecture.ts';
import { bert } from './bert.ts';
import type { ModelConfig } from './config.ts';
import { gptNeo } from './gpt-neo.ts';
import { gpt2 } from './gpt2.ts';
import { llama } from './llama.ts';
import { roberta } from './roberta.ts';
import { vit } from './vit.ts';

/** Model types that one file builds. */
export interface Family {
  /** Values of `model_type`. */
  readonly types: readonly string[];
  /** Module that holds the base model inside a model with a head, as in `model.layers.0`: base checkpoints lack it. */
  readonly prefix: string;
  /** What the family can be asked for; the first is meant where nothing else says. */
  readonly tasks: readonly Task[];
  build(config: ModelConfig, task: Task): Architecture;
}

const DECODER_TASKS: readonly Task[] = ['language-modelling', 'sequence-classification', 'embedding'];

const ENCODER_TASKS: readonly Task[] = ['embedding', 'sequence-classification'];

const FAMILIES: readonly Family[] = [
  { types: ['llama', 'mistral', 'qwen2', 'qwen3'], prefix: 'model.', tasks: DECODER_TASKS, build: llama },
  { types: ['gpt2'], prefix: 'transformer.', tasks: DECODER_TASKS, build: gpt2 },
  { types: ['gpt_neo'], prefix: 'transformer.', tasks: DECODER_TASKS, build: gptNeo },
  { types: ['bert'], prefix: 'bert.', tasks: ENCODER_TASKS, build: bert },
  { types: ['roberta'], prefix: 'roberta.', tasks: ENCODER_TASKS, build: roberta },
  { types: ['vit'], prefix: 'vit.', tasks: ['image-classification'], build: vit },
];

/** Every `model_type` that can be built. */
export function knownArchitectures(): string[] {
  return FAMILIES.flatMap((family) => family.types);
}

/** @throws RankineError `models/unknown-architecture`, naming the known ones */
export function familyOf(config: ModelConfig): Family {
  const family = FAMILIES.find((f) => f.types.includes(String(config.model_type)));
  if (family) return family;
  throw new RankineError(
    'models/unknown-architecture',
    config.model_type === undefined
      ? 'The configuration names no model_type.'
      : `The architecture "${config.model_type}" is not known.`,
    `Known: ${knownArchitectures().join(', ')}.`,
  );
}

/**
 * The architecture that a `config.json` describes.
 *
 * @param config its `model_type` chooses the architecture
 * @param task   default: what the class in `architectures` does (`LlamaForCausalLM` → language modelling, `BertModel` →
 *   embedding, …), else the family's first task
 * @throws RankineError `models/unknown-architecture`, `models/task`, `models/config`, `models/unsupported`
 */
export function architectureOf(config: ModelConfig, task?: Task): Architecture {
  const family = familyOf(config);
  const chosen = task ?? defaultTask(config, family);
  if (!family.tasks.includes(chosen))
    throw new RankineError(
      'models/task',
      `A ${config.model_type} model cannot be used for ${chosen}.`,
      `It can for ${family.tasks.join(', ')}.`,
    );
  return family.build(config, chosen);
}

const CLASS_TASKS: readonly [suffix: RegExp, task: Task][] = [
  [/ForCausalLM$|LMHeadModel$/, 'language-modelling'],
  [/ForSequenceClassification$/, 'sequence-classification'],
  [/ForImageClassification$/, 'image-classification'],
  [/^(?!.*For[A-Z]).*Model$/, 'embedding'],
];

function defaultTask(config: ModelConfig, family: Family): Task {
  const [name] = Array.isArray(config.architectures) ? config.architectures : [];
  const task = CLASS_TASKS.find(([suffix]) => suffix.test(String(name)))?.[1];
  return task && family.tasks.includes(task) ? task : family.tasks[0];
}
