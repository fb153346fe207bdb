import { join } from 'node:path';
import type { Command } from 'commander';
import { CONFIG_ONLY, resolveModel } from '../../formats/index.ts';
import { readJsonObject } from '../../formats/json-file.ts';
import { architectureOf, type LayerGroup, type ModelInfo, modelInfo, type Task } from '../../models/index.ts';
import type { Verb } from '../program.ts';
import { count, percent, styleFor, table } from '../terminal/index.ts';

const EXAMPLES = `
Only config.json is read; of a hub model nothing else is fetched.

Examples:
  rankine info quickstart/base
  rankine info HuggingFaceTB/SmolLM2-135M --json`;

export const infoVerb: Verb = {
  define(command: Command) {
    command
      .argument('<model>', 'a folder, or owner/name[@revision] on the hub')
      .option(
        '--task <task>',
        'language-modelling, sequence-classification, embedding or image-classification',
      )
      .option('--json', 'one JSON object')
      .addHelpText('after', EXAMPLES)
      .action(run);
  },
};

async function run(model: string, { task, json }: { task?: Task; json?: boolean }): Promise<void> {
  const folder = await resolveModel(model, { files: CONFIG_ONLY });
  const config = await readJsonObject(join(folder, 'config.json'));
  const info = modelInfo(architectureOf(config, task));
  const text = json ? JSON.stringify({ model, ...info }, null, 2) : lines(model, info).join('\n');
  process.stdout.write(`${text}\n`);
}

function lines(model: string, info: ModelInfo): string[] {
  const style = styleFor(process.stdout);
  const { type, task, blocks, maxLength, vocabulary, parameters } = info;
  const facts: [string, string | undefined][] = [
    ['architecture', type],
    ['task', task],
    ['blocks', String(blocks)],
    ['longest text', maxLength === undefined ? undefined : `${maxLength} tokens`],
    ['vocabulary', vocabulary?.toLocaleString('en')],
    ['parameters', `${parameters.toLocaleString('en')} (${count(parameters)})`],
  ];
  return [
    style.strong(model),
    ...table(facts.flatMap(([name, value]) => (value === undefined ? [] : [[`  ${name}`, value]]))),
    ...table(
      info.groups.map((g) => [
        `    ${g.name}`,
        g.parameters.toLocaleString('en'),
        percent(g.parameters / parameters),
      ]),
      { align: ['left', 'right', 'right'] },
    ),
    '',
    style.strong('Layers that can be targeted (--targets)'),
    ...layerTable(info.layers),
  ];
}

function layerTable(layers: readonly LayerGroup[]): string[] {
  return table(
    layers.map((l) => [l.target, l.kind, String(l.count), `${l.out} × ${l.in}`, l.example]),
    { header: ['target', 'kind', 'count', 'shape', 'first'], align: ['left', 'left', 'right', 'right'] },
  );
}
