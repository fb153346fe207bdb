import { z } from 'zod';
import { forms } from '../adapters/index.ts';
import { optimizers } from '../optimizers/index.ts';
import { FULL, recipeSchema } from '../training/index.ts';

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
    adapter: choice(forms, [FULL]).optional().describe(describeOf('adapter')),
    optimizer: choice(optimizers, []).optional().describe(describeOf('optimizer')),
  });
  return { title: 'Rankine recipe', ...z.toJSONSchema(schema, { io: 'input' }) };
}

/** A method by name alone, or with its options. */
function choice(methods: readonly Method[], others: readonly string[]): z.ZodType {
  const names = [...methods.map((m) => m.name), ...others];
  const alone = others.map((name) => z.strictObject({ method: z.literal(name) }));
  return z.union([z.enum(names), ...methods.map(withOptions), ...alone]);
}

function withOptions({ name, title, options }: Method): z.ZodType {
  if (!(options instanceof z.ZodObject)) throw new Error(`internal: the options of ${name} are no object`);
  return options.extend({ method: z.literal(name) }).describe(title);
}

function describeOf(field: 'adapter' | 'optimizer'): string {
  return recipeSchema.shape[field].description ?? '';
}
