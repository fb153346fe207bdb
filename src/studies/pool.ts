/** Runs jobs in order, so many at a time; none is begun once they are asked to stop. */
export async function inPool(
  jobs: readonly (() => Promise<unknown>)[],
  size: number,
  signal: AbortSignal,
): Promise<void> {
  let next = 0;
  const worker = async () => {
    while (next < jobs.length && !signal.aborted) await jobs[next++]();
  };
  await Promise.all(Array.from({ length: size }, worker));
}
