import type { Architecture, BatchInputs, HeadOutput } from './architecture.ts';
import type { Context } from './context.ts';

/** The whole model: embed, every block, head. */
export function forward(architecture: Architecture, c: Context, batch: BatchInputs): HeadOutput {
  let x = architecture.embed(c, batch);
  for (let i = 0; i < architecture.blocks; i++) x = architecture.block(c, i, x, batch);
  return architecture.head(c, x, batch);
}
