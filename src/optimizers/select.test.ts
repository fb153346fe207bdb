import { expect, it } from 'vitest';
import { blockMatrix } from '../../tests/optimizers.ts';
import { optimizers } from './index.ts';

const parameters = [blockMatrix('a', 32, 32), blockMatrix('b', 8, 32), blockMatrix('c', 32, 16)];

it.each(['galore', 'fira', 'apollo', 'gradnormlorp'])(
  '%s: refuses a rank above the smaller side, and the remedy is a rank that all matrices have',
  (name) => {
    const method = optimizers.find((o) => o.name === name)!;
    for (const bits of name === 'apollo' ? [{}] : [{}, { bits: 8 }])
      for (const rank of [9, 40]) {
        const rules = () => method.rules(parameters, method.options.parse({ rank, ...bits }), 0);
        expect(rules).toThrow(
          expect.objectContaining({
            code: 'optimizers/rank',
            message: expect.stringContaining(
              `${name} cannot project b.weight of shape [8,32] to rank ${rank}.`,
            ),
            remedy: 'Give a rank of 1 to 8.',
          }),
        );
      }
  },
);

it.each(['galore', 'fira', 'apollo', 'apollo-mini', 'gradnormlorp', 'frugal', 'badam'])(
  '%s: refuses a gap of 0',
  (name) => {
    const method = optimizers.find((o) => o.name === name)!;
    expect(method.options.safeParse({ gap: 0 }).error?.issues).toMatchObject([{ path: ['gap'] }]);
  },
);
