import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism, cpus } from 'node:os';
import { writeAtomic } from '../formats/atomic.ts';

/** What a run was computed with: enough to tell why another machine's numbers differ. */
export interface Versions {
  readonly rankine: string;
  readonly node: string;
  /** `linux-x64` */
  readonly platform: string;
  readonly cpu: string;
  readonly cores: number;
  /** Versions of the packages that compute or read, where installed. */
  readonly packages: Readonly<Record<string, string>>;
}

const PACKAGES = ['onnxruntime-node', 'onnxruntime-common', '@huggingface/tokenizers', '@huggingface/jinja'];

export function collectVersions(): Versions {
  const packages: Record<string, string> = {};
  for (const name of PACKAGES) {
    const version = installedVersion(name);
    if (version) packages[name] = version;
  }
  return {
    rankine: ownVersion(),
    node: process.versions.node,
    platform: `${process.platform}-${process.arch}`,
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: availableParallelism(),
    packages,
  };
}

export async function writeVersions(path: string): Promise<void> {
  await writeAtomic(path, `${JSON.stringify(collectVersions(), null, 2)}\n`);
}

function ownVersion(): string {
  // The same two levels up from src/training and from dist/training.
  return JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')).version;
}

/** From the package's own file: `exports` may hide it from `require`. */
function installedVersion(name: string): string | undefined {
  for (const folder of createRequire(import.meta.url).resolve.paths(name) ?? [])
    try {
      return JSON.parse(readFileSync(`${folder}/${name}/package.json`, 'utf8')).version;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  return undefined;
}
