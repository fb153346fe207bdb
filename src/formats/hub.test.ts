import { createHash } from 'node:crypto';
import { lstat, mkdir, mkdtemp, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { hubAccess } from './hub-access.ts';
import { type HubProgress, resolveDataset, resolveModel } from './index.ts';

const COMMIT = 'a'.repeat(40);
const LARGE = 'x'.repeat(50_000);
const FILES: Record<string, string> = {
  'config.json': '{"model_type":"gpt2"}',
  'tokenizer.json': '{}',
  'model.safetensors': LARGE,
  'pytorch_model.bin': 'never fetched',
  'onnx/config.json': 'never fetched',
  '1_Pooling/config.json': '{"pooling":1}',
};

/** What the server does beyond playing the hub. */
interface Behaviour {
  files: Record<string, string>;
  token?: string;
  cutLarge?: boolean;
  corrupt?: boolean;
}

let behaviour: Behaviour;
let requests: string[];
let server: Server;
let env: Record<string, string>;
let cache: string;

beforeEach(async () => {
  behaviour = { files: { ...FILES } };
  requests = [];
  server = createServer(play);
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  cache = await mkdtemp(join(tmpdir(), 'rankine-hub-'));
  env = { HF_ENDPOINT: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, HF_HOME: cache };
});
afterEach(() => {
  server.closeAllConnections();
  server.close();
});

function play(request: IncomingMessage, response: ServerResponse) {
  const path = decodeURIComponent(request.url!.split('?')[0]);
  requests.push(path);
  if (behaviour.token && request.headers.authorization !== `Bearer ${behaviour.token}`)
    return refuse(response, 401);
  const [, kind, rest] = /^\/api\/(models|datasets)\/o\/n\/(.*)$/.exec(path) ?? [];
  if (kind && rest === 'revision/main') return json(response, { _id: '1', id: 'o/n', sha: COMMIT });
  if (kind && rest === `tree/${COMMIT}`)
    return json(response, Object.entries(behaviour.files).map(treeEntry));
  const file = /^(?:\/datasets)?\/o\/n\/resolve\/a{40}\/(.*)$/.exec(path)?.[1];
  if (file !== undefined && file in behaviour.files) return content(request, response, behaviour.files[file]);
  refuse(response, 404);
}

function treeEntry([path, text]: [string, string]) {
  const oid = createHash('sha1').update(`blob ${text.length}\0${text}`).digest('hex');
  const lfs = { oid: createHash('sha256').update(text).digest('hex'), size: text.length, pointerSize: 130 };
  return { type: 'file', path, size: text.length, oid, ...(text === LARGE && { lfs }) };
}

function json(response: ServerResponse, value: unknown): void {
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify(value));
}

function content(request: IncomingMessage, response: ServerResponse, text: string): void {
  response.setHeader('etag', '"e"');
  if (request.headers.range === 'bytes=0-0') {
    response.setHeader('content-range', `bytes 0-0/${text.length}`);
    response.statusCode = 206;
    response.end(text[0]);
    return;
  }
  if (text === LARGE && behaviour.cutLarge) {
    response.setHeader('content-length', text.length);
    response.write(text.slice(0, 20_000), () => setTimeout(() => response.destroy(), 20));
    return;
  }
  response.end(behaviour.corrupt ? text.replace(/^./, '?') : text);
}

function refuse(response: ServerResponse, status: number): void {
  response.statusCode = status;
  json(response, { error: `status ${status}` });
}

const repository = (kind = 'models') => join(cache, 'hub', `${kind}--o--n`);
const tree = async (folder: string) => (await readdir(folder, { recursive: true })).sort();

describe('models', () => {
  test('what is needed lands in the standard cache, and is then used without the network', async () => {
    const progress: HubProgress[] = [];
    const folder = await resolveModel('o/n', { env, onProgress: (p) => progress.push(p) });
    expect(folder).toBe(join(repository(), 'snapshots', COMMIT));
    expect(await tree(folder)).toEqual([
      '1_Pooling',
      '1_Pooling/config.json',
      'config.json',
      'model.safetensors',
      'tokenizer.json',
    ]);
    expect((await lstat(join(folder, '1_Pooling/config.json'))).isSymbolicLink()).toBe(true);
    expect(await readFile(join(folder, '1_Pooling/config.json'), 'utf8')).toBe('{"pooling":1}');
    expect(await readFile(join(folder, 'model.safetensors'), 'utf8')).toBe(LARGE);
    expect(await readFile(join(repository(), 'refs/main'), 'utf8')).toBe(COMMIT);
    expect(progress.at(-1)).toMatchObject({ done: progress[0].total, total: progress[0].total });
    requests.length = 0;
    expect(await resolveModel('o/n@main', { env })).toBe(folder);
    expect(await resolveModel(`o/n@${COMMIT}`, { env: { ...env, HF_HUB_OFFLINE: '1' } })).toBe(folder);
    expect(requests).toEqual([]);
    await resolveModel('o/n', { env, refresh: true });
    expect(requests.some((path) => path.includes('resolve'))).toBe(false);
  });

  test('without safetensors the .bin is fetched', async () => {
    delete behaviour.files['model.safetensors'];
    const folder = await resolveModel('o/n', { env });
    expect(await readFile(join(folder, 'pytorch_model.bin'), 'utf8')).toBe('never fetched');
  });

  test('a download made by Python is used, offline and on', async () => {
    const snapshot = join(repository(), 'snapshots', COMMIT);
    await mkdir(join(repository(), 'blobs'), { recursive: true });
    await mkdir(join(repository(), 'refs'));
    await mkdir(snapshot, { recursive: true });
    await writeFile(join(repository(), 'refs/main'), COMMIT);
    for (const name of ['config.json', 'tokenizer.json', 'model.safetensors']) {
      await writeFile(join(repository(), 'blobs', name), 'by Python');
      await symlink(`../../blobs/${name}`, join(snapshot, name));
    }
    expect(await resolveModel('o/n', { env })).toBe(snapshot);
    expect(await resolveModel('o/n', { env: { ...env, HF_HUB_OFFLINE: 'true' } })).toBe(snapshot);
    expect(requests).toEqual([]);
  });

  test('weights without a tokenizer: completed online, used as they are offline or without a connection', async () => {
    const snapshot = join(repository(), 'snapshots', COMMIT);
    await mkdir(join(repository(), 'refs'), { recursive: true });
    await mkdir(snapshot, { recursive: true });
    await writeFile(join(repository(), 'refs/main'), COMMIT);
    for (const name of ['config.json', 'model.safetensors'])
      await writeFile(join(snapshot, name), 'by Python');
    expect(await resolveModel('o/n', { env: { ...env, HF_HUB_OFFLINE: '1' } })).toBe(snapshot);
    const unplugged = { ...env, HF_ENDPOINT: 'http://127.0.0.1:1' };
    expect(await resolveModel('o/n', { env: unplugged })).toBe(snapshot);
    await expect(resolveModel('o/n', { env: unplugged, refresh: true })).rejects.toMatchObject({
      code: 'formats/hub-unreachable',
    });
    await resolveModel('o/n', { env });
    expect(await readdir(snapshot)).toContain('tokenizer.json');
    expect(await readFile(join(snapshot, 'model.safetensors'), 'utf8')).toBe('by Python');
  });

  test('HF_HUB_CACHE and a local path win', async () => {
    const other = await mkdtemp(join(tmpdir(), 'rankine-hub-'));
    const folder = await resolveModel('o/n', { env: { ...env, HF_HUB_CACHE: other } });
    expect(folder.startsWith(join(other, 'models--o--n'))).toBe(true);
    requests.length = 0;
    expect(await resolveModel(other, { env })).toBe(other);
    expect(requests).toEqual([]);
  });
});

describe('interrupted and damaged downloads', () => {
  test('a broken connection leaves no snapshot; the next try fetches only the rest', async () => {
    behaviour.cutLarge = true;
    await expect(resolveModel('o/n', { env })).rejects.toMatchObject({
      code: expect.stringMatching(/^formats\/hub-/),
    });
    expect(await readdir(repository())).toEqual(['blobs']);
    expect(
      (await readdir(join(repository(), 'blobs'))).filter((name) => name.endsWith('incomplete')),
    ).toEqual([]);
    behaviour.cutLarge = false;
    requests.length = 0;
    await resolveModel('o/n', { env });
    expect(requests.filter((path) => path.endsWith('config.json'))).toEqual([]);
    expect(requests.filter((path) => path.endsWith('model.safetensors')).length).toBeGreaterThan(0);
  });

  test('wrong content is refused', async () => {
    behaviour.corrupt = true;
    await expect(resolveModel('o/n', { env })).rejects.toMatchObject({
      code: 'formats/hub-download',
      message: expect.stringContaining('checksum'),
    });
    expect(await readdir(join(repository(), 'blobs'))).toEqual([]);
  });

  test('stopped by a signal', async () => {
    const controller = new AbortController();
    const onProgress = () => controller.abort();
    await expect(resolveModel('o/n', { env, onProgress, signal: controller.signal })).rejects.toThrow(
      /abort/i,
    );
    expect(await readdir(repository())).toEqual(['blobs']);
  });

  test('a path that leads outside is refused', async () => {
    behaviour.files = { ...FILES, '../../evil.json': '{}' };
    const files = {
      choose: (paths: readonly string[]) => [...paths],
      suffices: () => false,
      usable: () => false,
    };
    await expect(resolveModel('o/n', { env, files })).rejects.toMatchObject({
      code: 'formats/hub-download',
      message: expect.stringContaining('evil.json'),
    });
    expect(await readdir(cache)).toEqual([]);
  });
});

describe('refusals', () => {
  test('not found', () =>
    expect(resolveModel('o/absent', { env })).rejects.toMatchObject({
      code: 'formats/not-found',
      message: expect.stringContaining('o/absent'),
    }));
  test('neither a path nor an id', () =>
    expect(resolveModel('./a/b/c', { env })).rejects.toMatchObject({ code: 'formats/not-found' }));
  test('offline', () =>
    expect(resolveModel('o/n', { env: { ...env, HF_HUB_OFFLINE: '1' } })).rejects.toMatchObject({
      code: 'formats/hub-offline',
      remedy: expect.stringContaining('HF_HUB_OFFLINE'),
    }));
  test('no connection', () =>
    expect(resolveModel('o/n', { env: { ...env, HF_ENDPOINT: 'http://127.0.0.1:1' } })).rejects.toMatchObject(
      {
        code: 'formats/hub-unreachable',
      },
    ));
  test('private: refused without a token, given with it', async () => {
    behaviour.token = 'hf_secret';
    await expect(resolveModel('o/n', { env })).rejects.toMatchObject({
      code: 'formats/hub-denied',
      remedy: expect.stringContaining('HF_TOKEN'),
    });
    await expect(resolveModel('o/n', { env: { ...env, HF_TOKEN: 'no token' } })).rejects.toMatchObject({
      code: 'formats/hub-denied',
    });
    await resolveModel('o/n', { env: { ...env, HF_TOKEN: 'hf_secret' } });
  });
  test('a token that is not of huggingface.co is given to the endpoint, and to no other host', async () => {
    behaviour.token = 'mirror-token.1';
    const own = { ...env, HF_TOKEN: 'mirror-token.1' };
    const folder = await resolveModel('o/n', { env: own });
    expect(await readFile(join(folder, 'config.json'), 'utf8')).toBe(FILES['config.json']);
    await expect(
      resolveModel('o/n', { env: { ...own, HF_TOKEN: 'other' }, refresh: true }),
    ).rejects.toMatchObject({ code: 'formats/hub-denied' });
    const seen: (string | undefined)[] = [];
    const other = createServer((request, response) => {
      seen.push(request.headers.authorization);
      response.end();
    });
    await new Promise<void>((done) => other.listen(0, '127.0.0.1', done));
    const { fetch } = hubAccess({
      endpoint: env.HF_ENDPOINT,
      cache,
      offline: false,
      token: 'mirror-token.1',
    });
    await fetch!(`http://127.0.0.1:${(other.address() as AddressInfo).port}/lfs`);
    other.close();
    expect(seen).toEqual([undefined]);
  });
  test('the token that a login left is used', async () => {
    behaviour.token = 'hf_saved';
    await writeFile(join(cache, 'token'), 'hf_saved\n');
    await resolveModel('o/n', { env });
  });
});

test('datasets: tables only, in their own folder', async () => {
  behaviour.files = {
    'README.md': '#',
    'data/train.jsonl': '{"text":"a"}\n',
    'dataset_infos.json': '{}',
    'script.py': '',
  };
  const folder = await resolveDataset('o/n', { env });
  expect(folder).toBe(join(repository('datasets'), 'snapshots', COMMIT));
  expect(await tree(folder)).toEqual(['data', 'data/train.jsonl']);
});
