// Trains the adapters of tests/adapters/ours.ts and writes their folders, for ours.py to load in Python PEFT:
//   npx tsx scripts/reference/adapters/ours.ts FOLDER && python scripts/reference/adapters/ours.py FOLDER
import { join } from 'node:path';
import { createEngine } from '../../../src/engine/index.ts';
import { writePeftAdapter } from '../../../src/formats/index.ts';
import { ownAdapter, ownCases } from '../../../tests/adapters/ours.ts';

const [folder] = process.argv.slice(2);
const engine = await createEngine({ threads: 1 });
for (const name of Object.keys(ownCases))
  await writePeftAdapter(join(folder, name), await ownAdapter(name, engine), { replace: true });
await engine.dispose();
