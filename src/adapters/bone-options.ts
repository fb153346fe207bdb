import { z } from 'zod';
import { adapterOptions, loraOptions } from './options.ts';

/** Neither scale nor patterns: the change has no scale, and PEFT's file holds one rank. */
export const boneOptions = adapterOptions
  .extend({
    rank: z.int().positive().default(16).describe('side r of the blocks, or columns in a group'),
    mode: z
      .enum(['bat', 'balance', 'mini'])
      .default('bat')
      .describe("bat: the paper's, guided by the weight; balance: cheap and linear; mini: balance, tiled"),
    miniRank: z.int().positive().optional().describe('outputs q of the tiled tensor, in the mode mini'),
    dropout: loraOptions.shape.dropout,
  })
  .refine((o) => o.mode !== 'bat' || o.dropout === 0, {
    path: ['dropout'],
    message: 'the mode bat changes the weight itself and has no input to drop',
  })
  .refine((o) => (o.mode === 'mini') === (o.miniRank !== undefined), {
    path: ['miniRank'],
    message: 'miniRank and the mode mini need each other',
  });

export type BoneOptions = z.infer<typeof boneOptions>;
export type BoneMode = BoneOptions['mode'];
