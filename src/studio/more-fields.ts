import { parseDocument } from 'yaml';
import type { FormValues } from './study-form.ts';

/** Further fields of the recipe, typed as YAML. */
export function parseMore(
  text: FormValues[string] | undefined,
): { readonly fields: Readonly<Record<string, unknown>> } | { readonly error: string } {
  if (typeof text !== 'string' || text.trim() === '') return { fields: {} };
  const document = parseDocument(text, { prettyErrors: false });
  const [broken] = document.errors;
  if (broken) return { error: `not YAML: ${broken.message}` };
  const fields = document.toJS();
  if (typeof fields !== 'object' || fields === null || Array.isArray(fields))
    return { error: 'write fields of a recipe, one a line: schedule: cosine' };
  return { fields };
}
