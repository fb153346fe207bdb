import type { Command } from 'commander';
import { forms } from '../../adapters/index.ts';
import { optimizers } from '../../optimizers/index.ts';
import { FULL } from '../../training/recipe.ts';
import type { Verb } from '../program.ts';
import { styleFor, table } from '../terminal/index.ts';

/** One line of `rankine methods`. */
export interface MethodInfo {
  readonly name: string;
  readonly kind: 'adapter' | 'optimizer';
  readonly paper: string;
  readonly title: string;
  /** Numbers trained in an m×n layer; of an optimizer, numbers of its state. */
  readonly trainable: string;
  readonly whenToChoose: string;
}

/** Every registered method, and full training. */
export function methodList(): MethodInfo[] {
  const full: MethodInfo = {
    name: FULL,
    kind: 'adapter',
    paper: '',
    title: 'Full fine-tuning: every weight',
    trainable: 'm n',
    whenToChoose:
      'Much data, a new domain, or training from scratch; memory for all gradients and states. With modules: [classifier] a head alone.',
  };
  const adapters = forms.map(({ name, paper, title, trainable, whenToChoose }): MethodInfo => {
    return { name, kind: 'adapter', paper, title, trainable, whenToChoose };
  });
  const rules = optimizers.map(({ name, paper, title, stateFormula, whenToChoose }): MethodInfo => {
    return { name, kind: 'optimizer', paper, title, trainable: stateFormula, whenToChoose };
  });
  return [full, ...adapters, ...rules];
}

const EXAMPLES = `
Examples:
  rankine methods
  rankine methods --json | jq '.[] | select(.kind == "adapter") | .name'`;

export const methodsVerb: Verb = {
  define(command: Command) {
    command.option('--json', 'an array of objects').addHelpText('after', EXAMPLES).action(run);
  },
};

function run({ json }: { json?: boolean }): void {
  const methods = methodList();
  if (json) {
    process.stdout.write(`${JSON.stringify(methods, null, 2)}\n`);
    return;
  }
  const lines = [
    ...section(methods, 'adapter', 'Adapters (--adapter)', 'trained, m×n layer'),
    '',
    ...section(methods, 'optimizer', 'Optimizers (--optimizer)', 'state, m×n matrix'),
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
}

function section(
  methods: readonly MethodInfo[],
  kind: MethodInfo['kind'],
  title: string,
  cost: string,
): string[] {
  const rows = methods
    .filter((m) => m.kind === kind)
    .map((m) => [m.name, m.trainable, m.whenToChoose, m.paper]);
  const width = process.stdout.isTTY ? process.stdout.columns : undefined;
  const header = ['name', cost, 'when to choose', 'paper'];
  return [styleFor(process.stdout).strong(title), ...table(rows, { header, width })];
}
