import { describe, expect, it } from 'vitest';
import { layer, maxDifference, normal, type Started, start, weightOf } from './form-checks.contract.ts';
import { lora } from './lora.ts';
import { lowRank } from './low-rank.ts';
import { adapted, emptyLog, stepInfo } from './run-steps.contract.ts';
import { sltrain } from './sltrain.ts';
import type { WeightForm } from './weight-form.ts';

const [M, N] = [9, 12];

interface Seen {
  readonly weight: number;
  readonly A: Float32Array;
}

/** Updates that add noise to the factors; what a restart changed of the effective weight, as a share. */
async function run(form: WeightForm, options: Record<string, unknown>, total: number) {
  const s: Started = await start(form, layer(M, N), { rank: 3, ...options });
  const own = adapted(s);
  const steps = form.steps!(s.options, [own]);
  const log = emptyLog();
  const seen: Seen[] = [];
  for (let step = 0; step < total; step++) {
    const before = weightOf(s);
    await steps.beforeStep?.(stepInfo([own], step, { log, total }));
    const scale = (before.data as Float64Array).reduce((most, v) => Math.max(most, Math.abs(v)), 1e-30);
    seen.push({
      weight: maxDifference(weightOf(s), before) / scale,
      A: (own.trainable.A.data as Float32Array).slice(),
    });
    for (const [i, a] of Object.values(own.trainable).entries()) {
      const noise = normal(a.shape, 100 * step + i, 0.3).data as Float32Array;
      for (let k = 0; k < noise.length; k++) (a.data as Float32Array)[k] += noise[k];
    }
  }
  return { s, log, seen, steps };
}

const forms = [lora, lowRank, sltrain];

describe.each(forms)('restarts of $name', (form) => {
  it('change the factors, not the weight', async () => {
    const { seen, log } = await run(form, { restart: 'refactor', cycle: 3 }, 8);
    for (const { weight } of seen) expect(weight).toBeLessThan(1e-5);
    const plain = (await run(form, {}, 8)).seen;
    const same = seen.map(({ A }, step) => A.every((v, i) => v === plain[step].A[i]));
    expect(same).toEqual([true, true, true, false, false, false, false, false]);
    expect(log.resets).toEqual([]);
    expect(log.reports).toEqual({ 'restart/count': 2, 'restart/rank': 3 });
  });

  it('clear what they are asked to', async () => {
    const all = await run(form, { restart: 'reset', cycle: 3 }, 8);
    expect(all.log.resets).toEqual(['3:*', '6:*']);
    expect(all.log.parts).toEqual([]);
    const own = { restart: 'both', cycle: 3, resetScope: 'factors', resetMoments: 'first' };
    const { log, s } = await run(form, own, 5);
    expect(log.resets).toEqual(Object.keys(s.factors.trainable).map((name) => `3:${s.spec.name}#${name}`));
    expect(new Set(log.parts.map((p) => JSON.stringify(p)))).toEqual(new Set(['{"moments":"first"}']));
  });

  it('do not come where the cycle is longer than the run, or none are asked for', async () => {
    const plain = (await run(form, {}, 6)).seen.map(({ A }) => A);
    const { seen, log, steps } = await run(form, { restart: 'both', cycle: 6 }, 6);
    expect(seen.map(({ A }) => A)).toEqual(plain);
    expect(log.resets).toEqual([]);
    const scheduled = (step: number) => 1 / (1 + step);
    for (let step = 0; step < 6; step++)
      expect(steps.rate!({ step, total: 6, scheduled, factor: true })).toBe(scheduled(step));
    expect(form.steps!(form.options.parse({}), [])).toEqual({ state: {} });
  });
});

it('waits while a layer has learned nothing: SLTrain’s B is zero before its first update', async () => {
  const s = await start(sltrain, layer(M, N), { rank: 3, restart: 'both', cycle: 2 });
  const own = adapted(s);
  const A = own.trainable.A.data.slice();
  await sltrain.steps!(s.options, [own]).beforeStep!(stepInfo([own], 2));
  expect(own.trainable.A.data).toEqual(A);
});

describe('the rate', () => {
  const total = 100;
  const scheduled = (step: number) => 0.01 * (0.55 + 0.45 * Math.cos((Math.PI * step) / total));
  const rates = (options: Record<string, unknown>, factor = true) => {
    const steps = lowRank.steps!(lowRank.options.parse({ cycle: 30, ...options }), []);
    return Array.from({ length: total }, (_, step) => steps.rate!({ step, total, scheduled, factor }));
  };

  it('rises over w updates after each restart to what the schedule has then, and is the schedule elsewhere', () => {
    const list = rates({ restart: 'both', recovery: 5 });
    for (let step = 0; step < total; step++) {
      const j = step % 30;
      if (step < 30 || j >= 5) expect(list[step]).toBe(scheduled(step));
      else expect(list[step]).toBeCloseTo(scheduled(step - j + 5) * (0.001 + (0.999 * j) / 4), 12);
    }
    for (const restart of [30, 60, 90]) {
      expect(list[restart] / scheduled(restart + 5)).toBeCloseTo(0.001, 12);
      expect(list[restart + 4] / scheduled(restart + 5)).toBeCloseTo(1, 12);
    }
  });

  it('recovers at once over one update, and needs none', () => {
    const one = rates({ restart: 'reset', recovery: 1 });
    expect(one[30]).toBe(scheduled(31));
    expect(one.every(Number.isFinite)).toBe(true);
    expect(rates({ restart: 'reset', recovery: 0 })).toEqual(one.map((_, step) => scheduled(step)));
  });

  it('bends only for what was cleared', () => {
    const plain = Array.from({ length: total }, (_, step) => scheduled(step));
    expect(rates({ restart: 'both', resetScope: 'factors' }, false)).toEqual(plain);
    expect(rates({ restart: 'both', resetScope: 'factors' }, true)).not.toEqual(plain);
    expect(rates({ restart: 'both' }, false)).toEqual(rates({ restart: 'both' }, true));
    expect(lowRank.steps!(lowRank.options.parse({ restart: 'refactor' }), []).rate).toBeUndefined();
  });
});

/** ‖W − W*‖² by gradient descent on the factors of W = B A, from factors that were scaled by c and 1/c. */
async function descend(c: number, restart: 'none' | 'refactor') {
  const options = { rank: 3, alpha: 3, init: 'spectral', restart, cycle: 1 };
  const s = await start(lowRank, layer(M, N), options);
  const own = adapted(s);
  const [A, B] = [own.trainable.A.data as Float32Array, own.trainable.B.data as Float32Array];
  for (let i = 0; i < A.length; i++) A[i] /= c;
  for (let i = 0; i < B.length; i++) B[i] *= c;
  const target = normal([M, N], 77).data;
  const steps = lowRank.steps!(s.options, [own]);
  const losses: number[] = [];
  for (let step = 0; step < 150; step++) {
    // Once, after the first update of a warm-up, whose rate is zero.
    if (step === 1) await steps.beforeStep?.(stepInfo([own], step));
    const rate = step === 0 ? 0 : 0.02;
    const G = (weightOf(s).data as Float64Array).map((v, i) => v - Number(target[i]));
    losses.push(G.reduce((n, v) => n + v * v, 0));
    const [a, b] = [A.slice(), B.slice()];
    for (let k = 0; k < 3; k++)
      for (let i = 0; i < M; i++)
        for (let j = 0; j < N; j++) {
          A[k * N + j] -= rate * b[i * 3 + k] * G[i * N + j];
          B[i * 3 + k] -= rate * a[k * N + j] * G[i * N + j];
        }
  }
  return losses;
}

it('heals an unbalanced start: gradient descent goes on as from a balanced one', async () => {
  const balanced = await descend(1, 'none');
  expect(balanced[149]).toBeLessThan(0.5 * balanced[0]);
  expect((await descend(100, 'none')).some((loss) => !(loss < 1e6))).toBe(true);
  const healed = await descend(100, 'refactor');
  healed.forEach((loss, step) => {
    expect(loss / balanced[step]).toBeCloseTo(1, 3);
  });
});
