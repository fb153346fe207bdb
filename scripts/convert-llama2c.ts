/**
 * Turns a llama2.c checkpoint into a Hugging Face model folder:
 *
 *   npx tsx scripts/convert-llama2c.ts stories260K.bin tok512.bin FOLDER
 *
 * The vocabulary file may be left out (`-`) where the checkpoint holds its own.
 */
import { readFile } from 'node:fs/promises';
import {
  llama2cTokenizer,
  readLlama2c,
  readLlama2cVocabulary,
  writeCheckpoint,
} from '../src/formats/index.ts';

const [modelPath, vocabularyPath, folder] = process.argv.slice(2);
if (!folder) {
  console.error('usage: convert-llama2c.ts MODEL.bin VOCABULARY.bin|- FOLDER');
  process.exit(2);
}

const model = readLlama2c(modelPath, await readFile(modelPath));
const size = model.config.vocab_size as number;
const vocabulary =
  vocabularyPath === '-'
    ? model.vocabulary
    : readLlama2cVocabulary(vocabularyPath, await readFile(vocabularyPath), size);
const { tokenizer, config } = vocabulary ? llama2cTokenizer(vocabulary) : {};
await writeCheckpoint(folder, model.config, model.tensors, {
  files: tokenizer && {
    'tokenizer.json': JSON.stringify(tokenizer, null, 1),
    'tokenizer_config.json': JSON.stringify(config, null, 2),
  },
});
console.log(`wrote ${folder}: ${model.tensors.length} tensors${tokenizer ? ' and a tokenizer' : ''}`);
