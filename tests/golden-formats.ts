import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export interface GoldenTensor {
  readonly shape: number[];
  readonly values: number[];
}

/** Path of a golden file of this room; scripts/reference/formats.py writes them. */
export function goldenPath(name: string): string {
  return fileURLToPath(new URL(`./golden/formats/${name}`, import.meta.url));
}

export const golden = JSON.parse(readFileSync(goldenPath('golden.json'), 'utf8')) as {
  readonly types: Record<string, GoldenTensor>;
  readonly state: Record<string, GoldenTensor>;
  readonly wrapped: Record<string, GoldenTensor>;
  readonly half: { readonly bits: number[]; readonly float16: number[]; readonly bfloat16: number[] };
  readonly names: Record<string, string[]>;
};
