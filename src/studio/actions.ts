import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { RankineError } from '../errors.ts';
import { exists, writeAtomic } from '../formats/index.ts';
import type { PlanRow } from '../studies/index.ts';
import type { Marks } from './events.ts';
import { type FoundStudy, findStudies, resultOf, shownPath } from './find-studies.ts';
import { liveRuns } from './live-runs.ts';
import {
  controlBody,
  type ListedStudy,
  listBody,
  listPage,
  newPage,
  reportPart,
  type StudyPage,
  studyPage,
} from './pages.ts';
import type { Processes } from './processes.ts';
import { checkForm, type FormValues, formSchema } from './study-form.ts';

export interface Reply {
  readonly status: number;
  readonly content: unknown;
}

/** What the studio can show and do. */
export interface Actions {
  /** A page or a part of one; undefined: there is none. */
  get(head: string, id?: string, part?: string): Promise<string | undefined>;
  post(path: string, body: () => Promise<unknown>): Promise<Reply>;
  marks(study?: string): Promise<Marks>;
}

interface Context {
  readonly folders: readonly string[];
  readonly token: string;
  readonly processes: Processes;
}

export function studioActions(context: Context): Actions {
  const { folders, token } = context;
  const listed = async () => {
    const studies = await findStudies(folders);
    return Promise.all(studies.map(async (s): Promise<ListedStudy> => [s, await resultOf(s)]));
  };
  return {
    async get(head, id, part) {
      if (head === '' && id === undefined) return listPage(await listed(), token);
      if (head === 'list') return listBody(await listed()).markup;
      if (head === 'new') return newPage(folders[0], token);
      if (head !== 'study' || id === undefined) return undefined;
      const study = await findStudy(context, id);
      return study && studyView(await contentOf(context, study), token, part);
    },
    async post(path, body) {
      try {
        return await perform(context, path, body);
      } catch (error) {
        if (!(error instanceof RankineError)) throw error;
        return { status: 400, content: { message: error.message } };
      }
    },
    marks: (id) => marksOf(context, id),
  };
}

function studyView(content: StudyPage, token: string, part: string | undefined): string | undefined {
  if (part === undefined) return studyPage(content, token);
  if (part === 'report') return reportPart(content).markup;
  return part === 'runs' ? controlBody(content).markup : undefined;
}

/** By its id among those that are found: no address names a path. */
async function findStudy({ folders }: Context, id: string): Promise<FoundStudy | undefined> {
  return (await findStudies(folders)).find((s) => s.id === id);
}

async function contentOf({ processes }: Context, study: FoundStudy): Promise<StudyPage> {
  const [result, runs] = await Promise.all([resultOf(study), liveRuns(study.folder)]);
  return { study, result, runs, process: processes.of(study.id) };
}

async function marksOf(context: Context, id: string | undefined): Promise<Marks> {
  if (id === undefined) {
    const studies = await findStudies(context.folders);
    return { studies: JSON.stringify(studies.map((s) => [s.id, s.pid, s.changed])) };
  }
  const study = await findStudy(context, id);
  if (!study) return {};
  const runs = await liveRuns(study.folder);
  const { running, log } = context.processes.of(id) ?? {};
  return {
    report: String(study.resultChanged),
    runs: JSON.stringify([
      study.pid,
      study.resultChanged,
      running,
      log?.length,
      runs.map((r) => [r.name, r.state, r.changed]),
    ]),
  };
}

async function perform(context: Context, path: string, body: () => Promise<unknown>): Promise<Reply> {
  if (path === '/check') return check(context, formOf(await body()));
  if (path === '/studies') return create(context, formOf(await body()));
  const [, head, id, action] = path.split('/');
  const study = head === 'study' && id !== undefined ? await findStudy(context, id) : undefined;
  if (study && action === 'start') return start(context, study);
  if (study && action === 'stop') return stop(context, study);
  return { status: 404, content: { message: 'There is no such study.' } };
}

/** @throws RankineError `studio/no-form` */
function formOf(body: unknown): FormValues {
  const { data } = formSchema.safeParse(body);
  if (data) return data;
  throw new RankineError(
    'studio/no-form',
    'The request holds no form: texts by name, and a list of methods.',
  );
}

function start({ processes }: Context, study: FoundStudy): Reply {
  if (study.pid !== undefined) return { status: 409, content: { message: 'It runs already.' } };
  if (study.file === undefined)
    return { status: 409, content: { message: 'Its file is gone: nothing tells how to go on.' } };
  processes.start(study.id, study.file);
  return { status: 202, content: {} };
}

/** Whoever started it: the study's lock tells its process. */
function stop({ processes }: Context, { id, pid }: FoundStudy): Reply {
  // While it still plans, it holds no lock yet.
  if (processes.stop(id)) return { status: 202, content: {} };
  if (pid === undefined) return { status: 409, content: { message: 'It does not run.' } };
  try {
    process.kill(pid, 'SIGINT');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'ESRCH')
      return { status: 409, content: { message: `It cannot be stopped from here (${code}).` } };
  }
  return { status: 202, content: {} };
}

/** Errors at their fields, or what would fit: asked of a process of its own, so that planning delays no page. */
async function check({ processes }: Context, values: FormValues): Promise<Reply> {
  const checked = checkForm(values);
  if (checked.errors) return { status: 422, content: { errors: checked.errors } };
  const folder = await mkdtemp(join(tmpdir(), 'rankine-plan-'));
  try {
    const file = join(folder, 'study.yaml');
    await writeFile(file, checked.yaml);
    const { code, out, log } = await processes.ask(['compare', file, '--dry-run', '--json']);
    if (code === 0) return { status: 200, content: { plan: JSON.parse(out) as PlanRow[] } };
    return { status: 422, content: { errors: { form: messageOf(log) } } };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The last line that a failed command wrote is its error as JSON. */
function messageOf(log: string): string {
  const last = log.trim().split('\n').at(-1) ?? '';
  try {
    const { message, remedy } = JSON.parse(last);
    return remedy ? `${message} ${remedy}` : message;
  } catch {
    return last || 'The plan failed without a word.';
  }
}

async function create(context: Context, values: FormValues): Promise<Reply> {
  const checked = checkForm(values);
  if (checked.errors) return { status: 422, content: { errors: checked.errors } };
  const root = resolve(context.folders[0]);
  const { name } = checked.study;
  const file = join(root, `${name}.yaml`);
  const folder = join(root, name);
  if ((await exists(file)) || (await exists(folder)))
    return {
      status: 422,
      content: { errors: { name: `${shownPath(file)} or its folder is there already: choose another name` } },
    };
  await writeAtomic(file, `${checked.yaml}output: ${JSON.stringify(shownPath(folder))}\n`);
  const study = (await findStudies(context.folders)).find((s) => s.folder === folder);
  if (!study)
    throw new RankineError(
      'studio/not-found',
      `The study was written to ${file}, but it cannot be read again.`,
    );
  context.processes.start(study.id, file);
  return { status: 201, content: { address: `/study/${study.id}` } };
}
