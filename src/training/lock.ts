import { randomUUID } from 'node:crypto';
import { link, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { RankineError } from '../errors.ts';
import { processStart } from './process-start.ts';

/** Who holds a run folder. */
export interface LockHolder {
  readonly pid: number;
  readonly host: string;
  /** When the lock was taken, ISO 8601. */
  readonly since: string;
  /** Start of the process as the system counts it; tells a process from a later one with the same id. */
  readonly processStart?: string;
  /** Tells two locks of one process apart. */
  readonly id: string;
}

export interface Lock {
  /** Gives the lock back; does nothing when it is no longer ours. */
  release(): Promise<void>;
}

/**
 * Takes the lock file at `path`, made at once with its content. The lock of a process of this host that no longer
 * lives is taken over; one of another host cannot be judged and stands.
 *
 * @throws RankineError `training/folder-locked`
 */
export async function takeLock(path: string): Promise<Lock> {
  const mine: LockHolder = {
    pid: process.pid,
    host: hostname(),
    since: new Date().toISOString(),
    processStart: processStart(process.pid),
    id: randomUUID(),
  };
  if (!(await create(path, mine))) await takeOver(path, mine);
  return {
    async release() {
      if ((await read(path))?.id === mine.id) await rm(path, { force: true });
    },
  };
}

/** The process that holds the lock file at `path` and lives; undefined where none does. Takes nothing. */
export async function lockHolder(path: string): Promise<LockHolder | undefined> {
  const holder = await read(path);
  return holder && isAlive(holder) ? holder : undefined;
}

/** False when there is a lock already. A hard link appears with its content and fails if the name is taken. */
async function create(path: string, holder: LockHolder): Promise<boolean> {
  const temporary = `${path}.${holder.id}`;
  await writeFile(temporary, JSON.stringify(holder), { flag: 'wx' });
  try {
    await link(temporary, path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  } finally {
    await rm(temporary, { force: true });
  }
}

/**
 * Moves a dead process's lock aside and takes its place. Two takers may both have seen the dead lock: only the one that
 * moved that very lock goes on; whoever moved the other's fresh lock puts it back.
 */
async function takeOver(path: string, mine: LockHolder): Promise<void> {
  const seen = await read(path);
  if (seen && isAlive(seen)) throw locked(path, seen);
  const aside = `${path}.${mine.id}.stale`;
  await rename(path, aside).catch(ignoreMissing);
  const moved = await read(aside);
  if (moved && moved.id !== seen?.id) {
    await link(aside, path).catch(() => undefined);
    await rm(aside, { force: true });
    throw locked(path, moved);
  }
  await rm(aside, { force: true });
  if (!(await create(path, mine))) throw locked(path, await read(path));
}

function isAlive(holder: LockHolder): boolean {
  if (holder.host !== hostname()) return true;
  try {
    process.kill(holder.pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'; // Someone else's process, but a living one.
  }
  return holder.processStart === undefined || holder.processStart === processStart(holder.pid);
}

/** Undefined when there is none or it is unreadable (a crash of the machine may leave it empty). */
async function read(path: string): Promise<LockHolder | undefined> {
  try {
    return JSON.parse(await readFile(path, 'utf8'));
  } catch {
    return undefined;
  }
}

function ignoreMissing(error: NodeJS.ErrnoException): void {
  if (error.code !== 'ENOENT') throw error;
}

function locked(path: string, holder: LockHolder | undefined): RankineError {
  const who = holder ? `process ${holder.pid} on ${holder.host} since ${holder.since}` : 'another process';
  return new RankineError(
    'training/folder-locked',
    `The run folder is in use by ${who} (${path}).`,
    'Wait for that run or choose another folder; if it runs no more on that machine, delete the lock file.',
  );
}
