/** Which files of a hub repository a job needs; paths are those in the repository. */
export interface FileChoice {
  /** Chooses from what the repository holds. */
  choose(paths: readonly string[]): string[];
  /** Whether files already in the cache suffice, so that the network need not be asked. */
  suffices(paths: readonly string[]): boolean;
  /** Whether they can be worked with where the network cannot be asked; less than `suffices`. */
  usable(paths: readonly string[]): boolean;
}

// Only files at the root and the folders that sentence-transformers makes (1_Pooling): no other framework's copies.
const SMALL = /^([0-9]+_[A-Za-z]+\/)?[^/]+\.(json|txt|model|jinja|tiktoken)$/;
const LICENCE = /^(LICENSE|NOTICE)[^/]*$/;
const INDEX = /\.index\.json$/;
const SAFETENSORS = /^(model|adapter_model)(-\d+-of-\d+)?\.safetensors(\.index\.json)?$/;
const TORCH = /^(pytorch_model|adapter_model)(-\d+-of-\d+)?\.bin(\.index\.json)?$/;
const TEXT_OR_IMAGE = /^(tokenizer\.json|tokenizer\.model|vocab\.txt|vocab\.json|preprocessor_config\.json)$/;

/** A model or an adapter: configuration, tokenizer, and weights as safetensors, or as .bin where there are none. */
export const MODEL_FILES: FileChoice = {
  choose(paths) {
    const small = paths.filter((path) => (SMALL.test(path) || LICENCE.test(path)) && !INDEX.test(path));
    return [...small, ...weights(paths)];
  },
  suffices: (paths) => isUsableModel(paths) && (isAdapter(paths) || paths.some((p) => TEXT_OR_IMAGE.test(p))),
  // Python may have fetched the weights alone, and some models have no tokenizer.
  usable: isUsableModel,
};

function isAdapter(paths: readonly string[]): boolean {
  return paths.includes('adapter_config.json');
}

function isUsableModel(paths: readonly string[]): boolean {
  return (isAdapter(paths) || paths.includes('config.json')) && hasAllWeights(paths);
}

function weights(paths: readonly string[]): string[] {
  const safe = paths.filter((path) => SAFETENSORS.test(path));
  return safe.length > 0 ? safe : paths.filter((path) => TORCH.test(path));
}

function hasAllWeights(paths: readonly string[]): boolean {
  const found = weights(paths);
  const shard = found.map((path) => /-\d+-of-(\d+)\./.exec(path)).find((match) => match !== null);
  const index = found.some((path) => INDEX.test(path));
  if (!shard && !index) return found.length > 0;
  const shards = found.filter((path) => !INDEX.test(path)).length;
  return shard !== undefined && index && shards === Number(shard?.[1]);
}

const hasConfig = (paths: readonly string[]) => paths.includes('config.json');

/** `config.json` alone: what a model's shapes need. */
export const CONFIG_ONLY: FileChoice = {
  choose: (paths) => paths.filter((path) => path === 'config.json'),
  suffices: hasConfig,
  usable: hasConfig,
};

/** Configuration and tokenizer, no weights. */
export const WITHOUT_WEIGHTS: FileChoice = {
  choose: (paths) => paths.filter((path) => SMALL.test(path) && !INDEX.test(path)),
  suffices: (paths) => hasConfig(paths) && paths.some((p) => TEXT_OR_IMAGE.test(p)),
  usable: hasConfig,
};

const TABLE = /\.(jsonl|json|csv|tsv|parquet|txt)(\.gz)?$/;
const ABOUT = /(^|\/)(dataset_infos?\.json|README\.md|\.gitattributes)$/;

/** The tables of a dataset. What a snapshot holds suffices: a download of ours makes it appear complete. */
export const DATASET_FILES: FileChoice = {
  choose: (paths) => paths.filter((path) => TABLE.test(path) && !ABOUT.test(path)),
  suffices: hasTable,
  usable: hasTable,
};

function hasTable(paths: readonly string[]): boolean {
  return paths.some((path) => TABLE.test(path) && !ABOUT.test(path));
}
