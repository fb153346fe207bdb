import { expect, it } from 'vitest';
import { programMemory } from './program-memory.ts';
import { parseRecipe } from './recipe.ts';
import { runShapes } from './run-shapes.ts';
import { traceWhole } from './whole.ts';

const [WIDTH, INNER] = [256, 1024];

/** Peak of one graph's results over a model whose matrices are much larger than its activations. */
function peakOf(blocks: number): number {
  const config = {
    ...{ model_type: 'llama', vocab_size: 16, hidden_size: WIDTH, intermediate_size: INNER },
    ...{ num_hidden_layers: blocks, num_attention_heads: 2, max_position_embeddings: 8 },
    ...{ rms_norm_eps: 1e-6, tie_word_embeddings: false },
  };
  const adapter = { method: 'sltrain', rank: 8, density: 0.03, modulesToSave: ['model', 'lm_head'] };
  const shapes = runShapes(parseRecipe({ model: 'none', data: 'none', adapter }), config);
  const batch = { rows: 1, length: 4, segments: false, positions: false, types: false, labelled: false };
  const { result } = traceWhole(shapes, batch);
  const { workspace, own } = programMemory(result, new Set(Object.keys(result.outputs)));
  return workspace + own;
}

it('SLTrain holds one layer’s W and one ∂L/∂W at a time, in one graph too', () => {
  const matrices = 4 * (4 * WIDTH * WIDTH + 3 * WIDTH * INNER);
  // Activations of four tokens and the positions in 64 bits.
  expect((peakOf(8) - peakOf(2)) / 6).toBeLessThan(0.25 * matrices);
  expect(peakOf(1)).toBeGreaterThan(4 * WIDTH * INNER);
});
