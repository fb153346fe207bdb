import { readFile } from 'node:fs/promises';
import { RankineError } from '../errors.ts';
import { readError } from './file-source.ts';
import type { JsonObject } from './json-keys.ts';

/**
 * Reads a file that holds one JSON object.
 *
 * @throws RankineError `formats/missing-file`, `formats/cannot-read`, `formats/broken-json`
 */
export async function readJsonObject(path: string): Promise<JsonObject> {
  const text = await readFile(path, 'utf8').catch((cause) => {
    throw readError(path, cause);
  });
  const value = parse(path, text);
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as JsonObject;
  throw broken(path, 'it is not an object');
}

function parse(path: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw broken(path, (cause as Error).message);
  }
}

function broken(path: string, fact: string): RankineError {
  return new RankineError(
    'formats/broken-json',
    `${path} is no readable JSON object: ${fact}.`,
    'Repair it, or download it again.',
  );
}
