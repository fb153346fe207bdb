import { writeAtomic } from './atomic.ts';
import { type LazyTensor, type SafetensorsOptions, safetensorsChunks } from './safetensors-write.ts';

/**
 * Writes a safetensors file atomically, one tensor in memory at a time. Use `lazyTensors` for arrays at hand.
 *
 * @throws RankineError as `writeAtomic` and `safetensorsChunks`
 */
export async function writeSafetensors(
  path: string,
  tensors: Iterable<LazyTensor>,
  options: SafetensorsOptions = {},
): Promise<void> {
  await writeAtomic(path, safetensorsChunks(tensors, options));
}
