/**
 * Generation with GPT-2 small (random weights), batch 1, greedy, 128 new tokens: tokens a second, and those of
 * transformers on the same machine, run by run in turn, where RANKINE_PYTHON names a Python that has it.
 * Run with `npx tsx bench/generate.ts [runs]`.
 */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { createEngine } from '../src/engine/index.ts';
import { gpt2 } from '../src/models/gpt2.ts';
import { drawParameter, generate, type Model } from '../src/models/index.ts';

const THREADS = 2;
const NEW_TOKENS = 128;
const PROMPT = Array.from({ length: 16 }, (_, i) => 100 + 7 * i);
const RUNS = Number(process.argv[2] ?? 5);

const REFERENCE = `
import sys, time, torch
from transformers import GPT2Config, GPT2LMHeadModel
torch.set_num_threads(${THREADS})
model = GPT2LMHeadModel(GPT2Config()).eval()
ids = torch.tensor([${JSON.stringify(PROMPT)}])
for line in sys.stdin:
    start = time.perf_counter()
    with torch.inference_mode():
        out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=${NEW_TOKENS},
            min_new_tokens=${NEW_TOKENS}, do_sample=False, use_cache=True, pad_token_id=50256)
    assert out.shape[1] == ${PROMPT.length + NEW_TOKENS}
    print(time.perf_counter() - start, flush=True)
`;

/** A run of transformers: seconds. Closed by calling `end`. */
function transformers(python: string): { run(): Promise<number>; end(): void } {
  const child = spawn(python, ['-c', REFERENCE], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    async run() {
      child.stdin.write('go\n');
      const { value, done } = await lines.next();
      if (done) throw new Error('the reference ended early');
      return Number(value);
    },
    end: () => child.stdin.end(),
  };
}

async function ours(): Promise<{ run(): Promise<number>; end(): Promise<void> }> {
  const engine = await createEngine({ threads: THREADS });
  const architecture = gpt2({ model_type: 'gpt2' }, 'language-modelling');
  const weights: Model['weights'] = new Map();
  for (const [name, spec] of architecture.parameters) weights.set(name, drawParameter(name, spec, 0));
  return {
    async run() {
      const start = performance.now();
      const [done] = await generate(engine, { architecture, weights }, [PROMPT], {
        maxNewTokens: NEW_TOKENS,
      });
      if (done.ids.length !== NEW_TOKENS) throw new Error('too few tokens');
      return (performance.now() - start) / 1000;
    },
    end: () => engine.dispose(),
  };
}

const median = (values: number[]) => values.sort((a, b) => a - b)[values.length >> 1];
const report = (name: string, times: number[]) =>
  console.log(
    `${name}: ${(NEW_TOKENS / median(times)).toFixed(1)} tokens/s (best ${(NEW_TOKENS / times[0]).toFixed(1)})`,
  );

const python = process.env.RANKINE_PYTHON;
const sides = { rankine: await ours(), ...(python ? { transformers: transformers(python) } : {}) };
const times: Record<string, number[]> = Object.fromEntries(Object.keys(sides).map((name) => [name, []]));
for (let i = 0; i <= RUNS; i++)
  for (const [name, side] of Object.entries(sides)) {
    const seconds = await side.run();
    // The first run compiles and warms up.
    if (i > 0) times[name].push(seconds);
  }
for (const [name, values] of Object.entries(times)) report(name, values);
if (times.transformers)
  console.log(`ratio: ${(median(times.transformers) / median(times.rankine)).toFixed(2)}`);
await Promise.all(Object.values(sides).map((side) => side.end()));
