import { afterAll, describe, expect, it } from 'vitest';
import { evaluate, type NDArray } from '../graph/index.ts';
import { caseFeeds, caseProgram, recorded } from '../graph/operator-cases.contract.ts';
import { createEngine, type Device } from './index.ts';

/** Largest |a − b| relative to the largest |b| (at least 1). */
function difference(a: NDArray, b: NDArray): number {
  let worst = 0;
  let scale = 1;
  for (let i = 0; i < b.data.length; i++) {
    const d = Math.abs(Number(a.data[i]) - Number(b.data[i]));
    worst = Number.isNaN(d) ? Number.POSITIVE_INFINITY : Math.max(worst, d);
    scale = Math.max(scale, Math.abs(Number(b.data[i])));
  }
  return worst / scale;
}

describe.each<Device>(['cpu', 'wasm'])('on %s', async (device) => {
  const engine = await createEngine({ device, threads: 2 });
  afterAll(() => engine.dispose());

  it.each(Object.keys(recorded))('%s equals the reference with its gradients', async (name) => {
    const p = caseProgram(name);
    const executable = await engine.compile(p);
    const got = await executable.run(caseFeeds(name, p, false));
    for (const [key, expected] of Object.entries(evaluate(p, caseFeeds(name, p, true)))) {
      expect(got[key].shape).toEqual(expected.shape);
      expect(got[key].dtype).toBe(expected.dtype);
      expect(got[key].data.constructor).toBe(Float32Array);
      expect(difference(got[key], expected), key).toBeLessThan(1e-5);
    }
  });
});
