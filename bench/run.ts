/**
 * The table of speed and memory against PyTorch, in alternating runs of both on this machine.
 *
 *   RANKINE_PYTHON=python npm run bench [-- CASE …] [--rounds 3]
 *   [RANKINE_PYTHON=python] npm run bench -- adapters [FORM …] [--rounds 3]
 *   npm run bench -- memory [METHOD …] [--sizes base,twin,60m,60m-8x256] [--executions whole,blockwise] [--steps 2]
 *   [RANKINE_PYTHON=python] npm run bench -- optimizers [METHOD …] [--models 60m,gpt2] [--rounds 1] [--json FILE]
 *
 * RANKINE_PYTHON is a Python with torch, transformers and peft; for `optimizers` also galore-torch and bitsandbytes. Each
 * round runs ours and theirs in processes of their own, one after the other; the table gives medians over the rounds.
 * `adapters` is the table of the weight forms, `optimizers` that of the methods that save memory; the latter keeps what
 * it has measured in FILE and goes on from there.
 */
import { execFileSync } from 'node:child_process';
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { adapterTable } from './adapters.ts';
import { type MemoryOptions, memoryTable } from './memory.ts';
import { optimizerTable } from './optimizers.ts';

interface Measured {
  tokensPerSecond: number;
  peakMegabytes: number;
  milliseconds: number;
  /** Of ours alone. */
  gigaflops: number;
}

interface Row {
  name: string;
  title: string;
  args: string[];
}

const rows: Row[] = [
  { name: 'gpt2-lora', title: 'GPT-2 small, LoRA r=8 on c_attn, 4×128', args: [] },
  { name: 'gpt2-full', title: 'GPT-2 small, all weights, AdamW, 4×128, whole', args: [] },
  { name: 'gpt2-full', title: 'the same, blockwise', args: ['--execution', 'blockwise'] },
  { name: 'smollm-lora', title: 'SmolLM2-135M shape, LoRA r=16 all-linear, 2×256', args: [] },
  {
    name: 'small-full',
    title: '4 layers × 256, vocabulary 512, all weights, 16×64',
    args: ['--steps', '40'],
  },
];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string' },
    models: { type: 'string' },
    json: { type: 'string' },
    sizes: { type: 'string' },
    executions: { type: 'string' },
    steps: { type: 'string' },
  },
});
const rounds = Number(values.rounds ?? (positionals[0] === 'optimizers' ? 1 : 3));
const python = process.env.RANKINE_PYTHON;
if (positionals[0] === 'adapters') {
  await adapterTable({ names: positionals.slice(1), rounds, python });
  process.exit();
}
if (positionals[0] === 'optimizers') {
  await optimizerTable({
    methods: positionals.slice(1),
    models: values.models?.split(','),
    rounds,
    python,
    file: values.json,
  });
  process.exit();
}
if (positionals[0] === 'memory') {
  await memoryTable({
    methods: positionals.slice(1),
    sizes: values.sizes?.split(','),
    executions: values.executions?.split(',') as MemoryOptions['executions'],
    steps: values.steps === undefined ? undefined : Number(values.steps),
  });
  process.exit();
}
if (!python) {
  console.error(
    'Set RANKINE_PYTHON to a Python with torch, transformers and peft: the table is a comparison.',
  );
  process.exit(1);
}

function measure(command: string, args: string[]): Measured {
  const out = execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  return JSON.parse(out.trim().split('\n').at(-1)!) as Measured;
}

function median(list: Measured[], key: keyof Measured): number {
  const sorted = list.map((m) => m[key]).sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}

const theirSteps = (args: string[]) => (args[0] === '--steps' ? args : []);

console.log(`${cpus()[0].model}, 2 threads, ${rounds} rounds, ${new Date().toISOString().slice(0, 10)}\n`);
const peak = measure('npx', ['tsx', 'bench/gemm-peak.ts']).gigaflops;
console.log(`One large matrix product: ${peak.toFixed(0)} GFLOP/s.\n`);
console.log(
  '| step | ours, tokens/s | PyTorch, tokens/s | ratio | ours, of the product’s rate | ours, peak MB | PyTorch, peak MB | ratio |',
);
console.log('| --- | --- | --- | --- | --- | --- | --- | --- |');
for (const row of rows) {
  if (positionals.length > 0 && !positionals.includes(row.name)) continue;
  const [ours, theirs]: [Measured[], Measured[]] = [[], []];
  for (let round = 0; round < rounds; round++) {
    ours.push(measure('npx', ['tsx', 'bench/step.ts', row.name, ...row.args]));
    theirs.push(measure(python, ['bench/pytorch_step.py', row.name, ...theirSteps(row.args)]));
  }
  const speed = [median(ours, 'tokensPerSecond'), median(theirs, 'tokensPerSecond')];
  const memory = [median(ours, 'peakMegabytes'), median(theirs, 'peakMegabytes')];
  const cells = [
    row.title,
    speed[0].toFixed(0),
    speed[1].toFixed(0),
    (speed[0] / speed[1]).toFixed(2),
    `${((100 * median(ours, 'gigaflops')) / peak).toFixed(0)} %`,
    memory[0].toFixed(0),
    memory[1].toFixed(0),
    (memory[0] / memory[1]).toFixed(2),
  ];
  console.log(`| ${cells.join(' | ')} |`);
}
