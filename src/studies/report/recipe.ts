import { stringify } from 'yaml';
import type { StudyRun } from '../results.ts';

/** The recipe of a run as a file that `rankine train` takes: every default is in it. */
export function recipeYaml({ recipe, versions, modelHash, dataHash }: StudyRun): string {
  const { adapter, optimizer, ...rest } = recipe;
  const hashes = [
    ['model', modelHash],
    ['data', dataHash],
  ].flatMap(([what, hash]) => (hash ? [`# ${what} sha256 ${hash}`] : []));
  const version = versions.rankine ? [`# rankine ${versions.rankine}`] : [];
  const { model, data, ...others } = rest;
  const content = {
    model,
    data,
    adapter: { method: adapter.method, ...adapter.options },
    optimizer: { method: optimizer.method, ...optimizer.options },
    ...others,
  };
  return [...version, ...hashes, stringify(content, { lineWidth: 0 })].join('\n');
}

/** An argument as a shell takes it. */
export function shellWord(text: string): string {
  return /^[\w./:@%+=,-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
