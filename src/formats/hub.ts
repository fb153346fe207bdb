import { datasetInfo, type ListFileEntry, listFiles, modelInfo } from '@huggingface/hub';
import { RankineError } from '../errors.ts';
import { exists } from './atomic.ts';
import { hubAccess } from './hub-access.ts';
import {
  cachedCommit,
  type Environment,
  type HubKind,
  type HubSettings,
  hubSettings,
  repositoryFolder,
  snapshotFiles,
  snapshotFolder,
  writeRef,
} from './hub-cache.ts';
import { type DownloadOptions, downloadFiles, type HubRepository } from './hub-download.ts';
import { explainHubError, type HubId } from './hub-errors.ts';
import { DATASET_FILES, type FileChoice, MODEL_FILES } from './hub-files.ts';

export interface HubOptions extends DownloadOptions {
  /** Ask the hub for a newer commit even where the cache holds a complete download. */
  readonly refresh?: boolean;
  /** Which files are needed, where the default of the kind does not fit. */
  readonly files?: FileChoice;
  /** Default `process.env`: HF_HOME, HF_HUB_CACHE, HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE. */
  readonly env?: Environment;
}

/**
 * The folder of a model: a local path as it is, or the snapshot of a hub id (`owner/name`, `owner/name@revision`) in
 * the standard Hugging Face cache. A complete download, by us or by Python, is used without asking the network.
 *
 * @throws RankineError `formats/not-found`, `formats/hub-denied`, `formats/hub-offline`, `formats/hub-unreachable`,
 *   `formats/hub-error`, `formats/hub-download`, `formats/disk-full`
 */
export function resolveModel(idOrPath: string, options: HubOptions = {}): Promise<string> {
  return resolve('model', idOrPath, MODEL_FILES, options);
}

/** The folder of a dataset, in the same way; its tables (JSONL, JSON, CSV, TSV, Parquet, text) are fetched. */
export function resolveDataset(idOrPath: string, options: HubOptions = {}): Promise<string> {
  return resolve('dataset', idOrPath, DATASET_FILES, options);
}

async function resolve(
  kind: HubKind,
  idOrPath: string,
  usual: FileChoice,
  options: HubOptions,
): Promise<string> {
  if (await exists(idOrPath)) return idOrPath;
  const id = parseId(kind, idOrPath);
  const settings = await hubSettings(options.env ?? process.env);
  const files = options.files ?? usual;
  const folder = repositoryFolder(settings, kind, id.name);
  const cached = await cachedSnapshot(folder, id.revision);
  const held = cached ? await snapshotFiles(cached) : [];
  if (cached && files.suffices(held) && (settings.offline || !options.refresh)) return cached;
  const usable = cached && files.usable(held) ? cached : undefined;
  if (settings.offline) {
    if (usable) return usable;
    throw offline(settings, kind, id);
  }
  try {
    return await download(settings, kind, id, files, folder, options);
  } catch (error) {
    const explained = explainHubError(error, settings, kind, id);
    if (usable && !options.refresh && isUnreachable(explained)) return usable;
    throw explained;
  }
}

function isUnreachable(error: unknown): boolean {
  return error instanceof RankineError && error.code === 'formats/hub-unreachable';
}

async function cachedSnapshot(folder: string, revision: string): Promise<string | undefined> {
  const commit = await cachedCommit(folder, revision);
  return commit ? snapshotFolder(folder, commit) : undefined;
}

async function download(
  settings: HubSettings,
  kind: HubKind,
  { name, revision }: HubId,
  files: FileChoice,
  folder: string,
  options: DownloadOptions,
): Promise<string> {
  const access = hubAccess(settings);
  const query = { name, revision, additionalFields: ['sha' as const], ...access };
  const { sha: commit } = await (kind === 'model' ? modelInfo(query) : datasetInfo(query));
  const repository: HubRepository = { settings, kind, name, commit, folder };
  const entries = new Map<string, ListFileEntry>();
  for await (const entry of listFiles({
    repo: { type: kind, name },
    recursive: true,
    revision: commit,
    ...access,
  }))
    if (entry.type === 'file') entries.set(entry.path, entry);
  const chosen = files.choose([...entries.keys()]);
  if (chosen.length === 0) throw nothingUseful(kind, name);
  await downloadFiles(
    repository,
    chosen.map((path) => entries.get(path)!),
    options,
  );
  await writeRef(folder, revision, commit); // last: a ref means a finished download
  return snapshotFolder(folder, commit);
}

const ID = /^([\w.-]+\/)?[\w.-]+$/;
const REVISION = /^[\w][\w./-]*$/;

function parseId(kind: HubKind, text: string): HubId {
  const [name, revision = 'main', ...rest] = text.split('@');
  const proper = ID.test(name) && REVISION.test(revision) && !/\.\.|^\./.test(`${name}@${revision}`);
  if (proper && rest.length === 0) return { name, revision };
  throw new RankineError(
    'formats/not-found',
    `There is no folder or file ${text}, and it is no Hugging Face ${kind} id either.`,
    'Check the path, or give an id such as owner/name or owner/name@revision.',
  );
}

function offline(settings: HubSettings, kind: HubKind, id: HubId): RankineError {
  return new RankineError(
    'formats/hub-offline',
    `The ${kind} ${id.name}@${id.revision} is not completely in the cache ${settings.cache}, and offline mode is on.`,
    'Unset HF_HUB_OFFLINE to download it, or give a local folder.',
  );
}

function nothingUseful(kind: HubKind, name: string): RankineError {
  return new RankineError(
    'formats/not-found',
    `The ${kind} ${name} holds no files of a kind that can be read.`,
    'Choose a repository with safetensors, pytorch_model.bin or tables.',
  );
}
