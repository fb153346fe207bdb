import { z } from 'zod';
import { forms } from '../adapters/index.ts';
import { optimizers } from '../optimizers/index.ts';
import { FULL, fullOptions, recipeSchema } from '../training/index.ts';

interface Method {
  readonly name: string;
  readonly title: string;
  readonly options: z.ZodType;
}

/**
 * JSON Schema of recipe files, for editors: what `parseRecipe` accepts, with the options of every registered method as
 * alternatives, so that `adapter: {method: lora, …}` completes.
 */
export function recipeJsonSchema(): Record<string, unknown> {
  const schema = recipeSchema.extend({
    $schema: z.string().optional().describe('where editors find this schema'),
    adapter: choice([...forms, full])
      .optional()
      .describe(describeOf('adapter')),
    optimizer: choice(optimizers).optional().describe(describeOf('optimizer')),
  });
  return { title: 'Rankine recipe', ...z.toJSONSchema(schema, { io: 'input' }) };
}

const full: Method = { name: FULL, title: 'every weight, or those of some modules', options: fullOptions };

/** A method by name alone, or with its options. */
function choice(methods: readonly Method[]): z.ZodType {
  return z.union([z.enum(methods.map((m) => m.name)), ...methods.map(withOptions)]);
}

function withOptions({ name, title, options }: Method): z.ZodType {
  if (!(options instanceof z.ZodObject)) throw new Error(`internal: the options of ${name} are no object`);
  return options.extend({ method: z.literal(name) }).describe(title);
}

function describeOf(field: 'adapter' | 'optimizer'): string {
  return recipeSchema.shape[field].description ?? '';
}
