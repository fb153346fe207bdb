import { z } from 'zod';
import { studySchema } from '../studies/index.ts';
import { recipeJsonSchema } from './recipe-schema.ts';

/** JSON Schema of study files, for editors: what `parseStudy` accepts, with a recipe's fields under `recipe`. */
export function studyJsonSchema(): Record<string, unknown> {
  const schema = studySchema.extend({
    $schema: z.string().optional().describe('where editors find this schema'),
  });
  const { properties, ...rest } = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' });
  const { required: _required, $schema: _schema, title: _title, ...recipe } = recipeJsonSchema();
  const shared = { ...recipe, description: studySchema.shape.recipe.description };
  return { title: 'Rankine study', ...rest, properties: { ...properties, recipe: shared } };
}
