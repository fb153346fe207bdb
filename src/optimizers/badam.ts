import { z } from 'zod';
import { adamwOptions, adamwPiece } from './adamw.ts';
import { defineOptimizer, type ParameterInfo } from './optimizer.ts';
import { pieceRule } from './pieces.ts';
import { anewEachTurn, takeTurns } from './turns.ts';

export const badamOptions = adamwOptions.omit({ form: true }).extend({
  epsilon: z.number().positive().default(1e-8).describe('guards the division'),
  gap: z.number().int().min(1).default(50).describe('steps of a block’s turn, K'),
  order: z
    .enum(['random', 'ascending', 'descending'])
    .default('random')
    .describe('order of the blocks; random: another one in each round'),
  others: z
    .enum(['blocks', 'always', 'frozen'])
    .default('blocks')
    .describe('embeddings, head and what else is in no layer: blocks too, always trained, or never'),
});

export type BadamOptions = z.infer<typeof badamOptions>;

/** The layer of the model that a tensor belongs to: its name up to the first number. */
function layerOf({ name }: ParameterInfo): string | undefined {
  return /^(?:.*?\.)??\d+(?=\.)/.exec(name)?.[0];
}

/**
 * BAdam (Luo et al. 2024, arXiv 2404.02827): AdamW on one layer of the model at a time; the others rest, and hold no
 * state. Each turn starts the moments anew.
 */
export const badam = defineOptimizer({
  name: 'badam',
  title: 'BAdam: A Memory Efficient Full Parameter Optimization Method for Large Language Models',
  paper: 'Luo, Yu and Li, NeurIPS 2024, arXiv 2404.02827',
  whenToChoose: 'Full fine-tuning with the optimizer state of a single layer.',
  stateFormula: '2 m n for the matrices of one layer, 0 for the others',
  options: badamOptions,
  rules(parameters, o, seed) {
    const others = (p: ParameterInfo) => (o.others === 'blocks' ? p.name.replace(/\.[^.]+$/, '') : undefined);
    const blockOf = (p: ParameterInfo) => layerOf(p) ?? others(p);
    const blocks = [...new Set(parameters.map(blockOf))].filter((b) => b !== undefined);
    const order = o.order === 'random' ? 'rounds' : o.order;
    const hasTurn = takeTurns(blocks.length, 1, { gap: o.gap, order, seed });
    return parameters.map((p) => {
      const adamw = adamwPiece({ ...o, form: 'torch' }, p);
      const block = blockOf(p);
      if (block === undefined && o.others === 'always') return pieceRule(p, adamw);
      const at = (step: number) => block === undefined || !hasTurn(blocks.indexOf(block), step);
      return { ...pieceRule(p, anewEachTurn(adamw, o.gap)), idle: { at } };
    });
  },
});
