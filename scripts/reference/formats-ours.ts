/**
 * Writes with our writers what formats-check.py then loads with Python:
 *
 *   npx tsx scripts/reference/formats-ours.ts FOLDER [vit.safetensors]
 *   python scripts/reference/formats-check.py FOLDER
 */
import { join } from 'node:path';
import {
  convertTimmViT,
  loraConfig,
  openCheckpoint,
  openTensorFile,
  type PeftConfig,
  readPeftAdapter,
  writeCheckpoint,
  writePeftAdapter,
} from '../../src/formats/index.ts';

const [out, vit] = process.argv.slice(2);
const golden = (name: string) => new URL(`../../tests/golden/formats/${name}`, import.meta.url).pathname;

for (const kind of ['lora', 'dora', 'rslora-pattern']) {
  const { config, tensors } = await readPeftAdapter(golden(`peft-${kind}`));
  // Only the fields that our own configurations have: what Python fills in for the rest must be right, too.
  const known = Object.keys(loraConfig({}));
  const ours = Object.fromEntries(Object.entries(config).filter(([key]) => known.includes(key)));
  await writePeftAdapter(join(out, kind), { config: loraConfig(ours as PeftConfig), tensors });
}

const base = await openCheckpoint(golden('gpt2'));
const tensors = base.names().map((name) => ({ name, shape: base.shape(name), read: () => base.read(name) }));
const options = { copyFrom: base.folder, maxShardBytes: 10_000 };
await writeCheckpoint(join(out, 'sharded'), base.config, tensors, options);
await writeCheckpoint(join(out, 'half'), base.config, tensors, { ...options, dtype: 'F16' });

if (vit) {
  const { config, tensors: converted } = convertTimmViT(await openTensorFile(vit));
  await writeCheckpoint(join(out, 'vit'), config, converted);
}
