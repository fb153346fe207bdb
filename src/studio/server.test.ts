import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { madeStudy } from '../../tests/study-result.ts';
import { takeLock } from '../training/index.ts';
import { openStudio, type Studio } from './index.ts';

/** Stands in for `rankine compare`: takes the study's lock and waits to be stopped, or fails where the file says so. */
const FAKE = `
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
const file = process.argv.find((a) => a.endsWith('.yaml') || a.endsWith('.json'));
const text = readFileSync(file, 'utf8');
if (text.includes('fail')) { console.error('error [models/none]: There is no model.'); process.exit(1); }
const folder = /output: "?([^"\\n]+)/.exec(text)[1];
mkdirSync(folder, { recursive: true });
writeFileSync(folder + '/study.lock', JSON.stringify({ pid: process.pid, host: hostname(), since: '', id: 'x' }));
console.error('started');
process.on('SIGINT', () => { rmSync(folder + '/study.lock'); console.error('saved'); process.exit(130); });
setInterval(() => {}, 1000);
`;

function studyYaml(name: string, folder: string): string {
  return `name: ${name}\nrecipe: { model: m, data: d }\nmethods: [lora]\ntest: t\noutput: "${folder}"\n`;
}

describe('the studio', () => {
  let root: string;
  let studio: Studio;
  let token: string;
  const failures: unknown[] = [];

  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), 'rankine-studio-'));
    const studies = join(root, 'studies');
    await mkdir(join(studies, 'old'), { recursive: true });
    await writeFile(
      join(studies, 'old', 'result.json'),
      JSON.stringify(madeStudy({ seeds: 2, examples: 40 })),
    );
    await writeFile(join(studies, 'old', 'study.json'), '{}');
    await writeFile(join(studies, 'todo.yaml'), studyYaml('todo', join(studies, 'todo')));
    await writeFile(join(studies, 'bad.yaml'), `${studyYaml('bad', join(studies, 'bad'))}question: fail\n`);
    await writeFile(join(studies, 'rubbish.yaml'), 'a: [');
    await writeFile(join(studies, 'package.json'), '{"name": "no-study"}');
    await writeFile(join(root, 'fake.mjs'), FAKE);
    studio = await openStudio({
      folders: [studies],
      port: 0,
      command: [process.execPath, join(root, 'fake.mjs')],
      onError: (error) => failures.push(error),
    });
    token = /data-token="([^"]+)"/.exec(await text('new'))?.[1] ?? '';
  });
  afterAll(async () => {
    await studio.close();
    await rm(root, { recursive: true, force: true });
  });

  async function text(path: string): Promise<string> {
    return (await fetch(studio.url + path)).text();
  }

  /** Without a client that tidies the path or sets the host. */
  function rawStatus(path: string, host?: string): Promise<number | undefined> {
    const { port } = new URL(studio.url);
    const headers = { host: host ?? `127.0.0.1:${port}` };
    return new Promise((resolve, reject) => {
      const asked = request({ port, host: '127.0.0.1', path, headers }, (r) => resolve(r.statusCode));
      asked.on('error', reject).end();
    });
  }

  async function post(path: string, body: unknown = {}) {
    const headers = { 'x-rankine-token': token, 'content-type': 'application/json' };
    const reply = await fetch(studio.url + path, { method: 'POST', headers, body: JSON.stringify(body) });
    return { status: reply.status, content: await reply.json() };
  }

  async function idOf(name: string): Promise<string> {
    const found = new RegExp(`href="/study/(\\w+)">(?:(?!</li>).)*<b>${name}</b>`, 's').exec(await text(''));
    if (!found) throw new Error(`no study ${name}`);
    return found[1];
  }

  async function until(check: () => Promise<boolean>): Promise<void> {
    for (let i = 0; i < 200; i++) {
      if (await check()) return;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new Error('waited in vain');
  }

  it('lists studies that were run and files that were not, and nothing else', async () => {
    const list = await text('');
    const names = [...list.matchAll(/<span class="card-head"><b>([^<]+)/g)].map((m) => m[1]).sort();
    expect(names).toEqual(['bad', 'old', 'todo']);
    expect(list).toContain('No clear winner among');
  });

  it('serves the report of a study, its parts, and nothing by path', async () => {
    const id = await idOf('old');
    expect(await text(`study/${id}`)).toContain('<h2>Quality against cost');
    expect(await text(`study/${id}/report`)).toMatch(/^<section id="verdict"/);
    for (const path of [
      '/study/..',
      '/study/..%2f..%2fetc',
      '//',
      '/etc/passwd',
      '/study/nothing',
      '/nothing',
      `/study/${id}/x`,
    ])
      expect(await rawStatus(path)).toBe(404);
  });

  it('turns away other hosts and changes without the token', async () => {
    const status = await rawStatus('/', `evil.example:${new URL(studio.url).port}`);
    expect(status).toBe(421);
    const id = await idOf('todo');
    expect((await fetch(`${studio.url}study/${id}/start`, { method: 'POST' })).status).toBe(403);
    expect(
      (await fetch(studio.url, { method: 'DELETE', headers: { 'x-rankine-token': token } })).status,
    ).toBe(405);
  });

  it('starts a study, says so by events, and stops it', async () => {
    const id = await idOf('todo');
    const reader = (await fetch(`${studio.url}events?study=${id}`))
      .body!.pipeThrough(new TextDecoderStream())
      .getReader();
    let heard = '';
    void (async () => {
      for (let part = await reader.read(); !part.done; part = await reader.read()) heard += part.value;
    })();
    await until(async () => heard.includes('event: runs'));
    heard = '';
    expect((await post(`study/${id}/start`)).status).toBe(202);
    await until(
      async () => heard.includes('event: runs') && (await text(`study/${id}/runs`)).includes('/stop"'),
    );
    await until(async () => (await post(`study/${id}/start`)).status === 409);
    heard = '';
    await writeFile(
      join(root, 'studies', 'todo', 'result.json'),
      JSON.stringify(madeStudy({ done: 6, examples: 20 })),
    );
    await until(async () => heard.includes('event: report'));
    expect((await post(`study/${id}/stop`)).status).toBe(202);
    await until(async () => (await text(`study/${id}/runs`)).includes('Resume'));
    expect((await post(`study/${id}/stop`)).status).toBe(409);
    await reader.cancel();
  });

  it('stops a study that something else runs, by its lock', async () => {
    const lock = await takeLock(join(root, 'studies', 'old', 'study.lock'));
    const heard = new Promise((resolve) => process.once('SIGINT', resolve));
    expect((await post(`study/${await idOf('old')}/stop`)).status).toBe(202);
    await heard;
    await lock.release();
  });

  it('shows why a study could not run', async () => {
    const id = await idOf('bad');
    await post(`study/${id}/start`);
    await until(async () => (await text(`study/${id}/runs`)).includes('There is no model.'));
  });

  it('writes a study from the form and starts it; a second one of that name is refused', async () => {
    const values = { name: 'fresh', model: 'm', train: 'd', test: 't', methods: ['lora'], seeds: '2' };
    expect((await post('studies', { ...values, name: '' })).content.errors.name).toBeDefined();
    const { status, content } = await post('studies', values);
    expect(status).toBe(201);
    const folder = join(root, 'studies', 'fresh');
    expect(await readFile(`${folder}.yaml`, 'utf8')).toContain('methods:\n  - lora\n');
    await until(async () => (await text(`${content.address.slice(1)}/runs`)).includes('/stop"'));
    expect((await post('studies', values)).content.errors.name).toContain('there already');
  });

  it('survives what it is sent', async () => {
    const headers = { 'x-rankine-token': token };
    const send = (body: string, path = 'studies') =>
      fetch(studio.url + path, { method: 'POST', headers, body }).then((r) => r.status);
    expect(await send('{')).toBe(400);
    for (const body of ['[]', 'null', '{"methods": {"a": 1}}', '{"name": 5}'])
      expect(await send(body)).toBe(400);
    expect(await send('{}')).toBe(422);
    expect(await send('x'.repeat(300_000))).toBe(400);
    expect(await text('')).toContain('Studies');
    expect(failures).toEqual([]);
  });

  it('says which port is taken', async () => {
    const port = Number(new URL(studio.url).port);
    await expect(openStudio({ folders: [root], port, command: [] })).rejects.toMatchObject({
      code: 'studio/port-in-use',
    });
  });

  it('lets studies save when it closes', async () => {
    const other = await openStudio({
      folders: [join(root, 'studies')],
      port: 0,
      command: [process.execPath, join(root, 'fake.mjs')],
    });
    const page = await (await fetch(`${other.url}new`)).text();
    const own = /data-token="([^"]+)"/.exec(page)?.[1] ?? '';
    const id = await idOf('todo');
    const headers = { 'x-rankine-token': own };
    await fetch(`${other.url}study/${id}/start`, { method: 'POST', headers });
    await until(async () => (await text(`study/${id}/runs`)).includes('/stop"'));
    await other.close();
    expect(await text(`study/${id}/runs`)).toContain('Resume');
    await expect(fetch(other.url)).rejects.toThrow();
  });
});
