import { RankineError } from '../errors.ts';
import { type NDArray, zeros } from '../graph/index.ts';
import { type Random, topK } from '../linalg/index.ts';
import { blockSizes, type IncreloraOptions, increloraScale, RESERVE } from './increlora-options.ts';
import { warmRestart } from './warm-restart.ts';
import { type AdaptedLayer, type Arrays, type FormSteps, partName, type StepInfo } from './weight-form.ts';

type Layer = AdaptedLayer<IncreloraOptions>;
type Info = StepInfo<IncreloraOptions>;

/** What a layer remembers between updates; in checkpoints. */
interface Memory {
  /** Smoothed score and its uncertainty. */
  readonly scores: NDArray;
  /** Update at which a block's A and B came into being, and its e; −1: not yet. */
  readonly created: NDArray;
  readonly promoted: NDArray;
}

/** Ranks that come into being, go live and have their optimizer state together: rows of A, Bᵀ and e. */
export interface Block {
  readonly from: number;
  readonly rows: number;
}

/** A and B of a block, N(0, 0.02²). */
export function drawBlock({ A, Bt }: Arrays, block: Block, source: Random): void {
  for (const [counter, factor] of [A, Bt].entries()) {
    const data = rowsOf(factor, block).data as Float32Array;
    source.fillNormal(data, counter);
    for (let i = 0; i < data.length; i++) data[i] *= 0.02;
  }
}

/** A view of a factor's rows. */
function rowsOf(factor: NDArray, { from, rows }: Block): NDArray {
  const [, ...row] = factor.shape;
  const size = row.reduce((n, d) => n * d, 1);
  return { ...factor, shape: [rows, ...row], data: factor.data.subarray(from * size, (from + rows) * size) };
}

/** The initial ranks, or a gain: one of `blockSizes`. */
function blockOf({ options: { initialRank, grow } }: Layer, index: number): Block {
  return index === 0
    ? { from: 0, rows: initialRank }
    : { from: initialRank + (index - 1) * grow, rows: grow };
}

function liveRanks({ frozen }: Layer): number {
  return (frozen.live.data as Float32Array).reduce((n, v) => n + v, 0);
}

function remember(layer: Layer): Memory {
  const blocks = blockSizes(layer.spec, layer.options).length;
  const never = () => {
    const array = zeros([blocks]);
    array.data.fill(-1 as never, 1);
    return array;
  };
  return { scores: zeros([2]), created: never(), promoted: never() };
}

/** The block that is grown next, −1 where there is no room left. */
function nextBlock({ promoted }: Memory): number {
  return promoted.data.findIndex((v: number | bigint) => Number(v) < 0);
}

function create(layer: Layer, memory: Memory, index: number, info: Info): void {
  const source = info.random(`increlora/${layer.spec.name}/${index}`);
  drawBlock(layer.trainable, blockOf(layer, index), source);
  memory.created.data[index] = info.step;
  for (const name of ['A', 'Bt']) info.resetOptimizer(layer, partName(name, index));
}

/** New ranks that train beside the live ones without counting. */
function addReserve(layer: Layer, memory: Memory, info: Info): void {
  const index = nextBlock(memory);
  if (index < 0 || Number(memory.created.data[index]) >= 0) return;
  create(layer, memory, index, info);
  rowsOf(layer.frozen.reserve, blockOf(layer, index)).data.fill(RESERVE as never);
}

/** The next block's first `count` ranks go live with e = 1e-5; B diag(e) A of what was there stays, its scale does not. */
function promote(layer: Layer, memory: Memory, count: number, info: Info): void {
  const { live, reserve, scale } = layer.frozen;
  const index = nextBlock(memory);
  if (Number(memory.created.data[index]) < 0) create(layer, memory, index, info);
  const block = blockOf(layer, index);
  const grown = { from: block.from, rows: count };
  rowsOf(live, grown).data.fill(1 as never);
  rowsOf(reserve, block).data.fill(0 as never);
  rowsOf(layer.trainable.e, grown).data.fill(RESERVE as never);
  memory.promoted.data[index] = info.step;
  info.resetOptimizer(layer, partName('e', index));
  scale.data[0] = increloraScale(layer.options, liveRanks(layer));
}

/** Ī and Ū, smoothed; S = Ī Ū. */
function updateScore({ scores }: Memory, now: number, o: IncreloraOptions): void {
  const mean = o.beta1 * Number(scores.data[0]) + (1 - o.beta1) * now;
  scores.data[0] = mean;
  scores.data[1] = o.beta2 * Number(scores.data[1]) + (1 - o.beta2) * Math.abs(now - mean);
}

/** Scores, growth and warm-up around the updates of a run. */
export function grow(o: IncreloraOptions, layers: readonly Layer[]): FormSteps<IncreloraOptions> {
  const memories = new Map(layers.map((layer) => [layer.spec.name, remember(layer)]));
  const of = (layer: Layer) => memories.get(layer.spec.name)!;
  const budget = o.rank * layers.length;
  const total = () => layers.reduce((n, layer) => n + liveRanks(layer), 0);
  const warm = warmRestart();
  return {
    state: Object.fromEntries(
      [...memories].flatMap(([name, memory]) =>
        Object.entries(memory).map(([key, array]) => [`${name}/${key}`, array as NDArray]),
      ),
    ),
    // What does not exist has no gradient, and e of a reserve is not trained.
    rests(layer, factor, index = 0) {
      const { from } = blockOf(layer, index);
      const { live, reserve } = layer.frozen;
      return live.data[from] === 0 && (factor === 'e' || reserve.data[from] === 0);
    },
    observes: (step) => total() < budget && untilEvent(step, o) < o.scored,
    beforeStep(info) {
      checkSchedule(o, info.total);
      const growing = total() < budget;
      for (const layer of info.layers) {
        if (growing && o.advance && info.step > 0) addReserve(layer, of(layer), info);
        keepYoung(layer, of(layer));
      }

      function keepYoung(layer: Layer, { created, promoted }: Memory) {
        for (let index = 1; index < created.data.length; index++) {
          const rows = (name: string) => rowsOf(layer.trainable[name], blockOf(layer, index));
          const [factors, e] = [created, promoted].map((at) => share(Number(at.data[index]), info.step, o));
          if (factors < 1) warm.keep([rows('A'), rows('Bt')], factors);
          if (e < 1) warm.keep([rows('e')], e);
        }
      }
    },
    // After the update, though growth is decided by its gradients: what is new has had none, and must not count one.
    afterStep(info) {
      warm.shorten();
      if (total() < budget && untilEvent(info.step, o) < o.scored)
        for (const layer of info.layers)
          updateScore(of(layer), Number(info.observed(layer, 'score').data[0]), o);
      if (untilEvent(info.step, o) === 0 && total() < budget) growMost(info);
      for (const layer of info.layers) info.report(`increlora/rank/${layer.spec.name}`, liveRanks(layer));
    },
  };

  function growMost(info: Info): void {
    const open = info.layers.filter((layer) => nextBlock(of(layer)) >= 0);
    const values = open.map((layer) => {
      const [mean, uncertainty] = of(layer).scores.data;
      return Number(mean) * Number(uncertainty);
    });
    const chosen = topK(values, Math.min(o.top, budget - total(), open.length));
    for (const index of chosen) {
      const left = budget - total();
      if (left > 0) promote(open[index], of(open[index]), Math.min(o.grow, left), info);
    }
    const full = total() >= budget;
    for (const layer of info.layers)
      if (full) layer.frozen.reserve.data.fill(0 as never);
      else if (o.advance) addReserve(layer, of(layer), info);
  }
}

/** @throws RankineError `adapters/schedule` where the run ends before the first event */
function checkSchedule(o: IncreloraOptions, total: number): void {
  const first = untilEvent(0, o);
  if (first < total || o.rank === o.initialRank) return;
  throw new RankineError(
    'adapters/schedule',
    `IncreLoRA: ranks would grow after ${first} updates for the first time, but the run has ${total}.`,
    `Lower first and every: growth comes at multiples of every beyond first.`,
  );
}

/** Updates from this one to the next event: a multiple of `every` beyond `first`. */
function untilEvent(step: number, { first, every }: IncreloraOptions): number {
  const next = Math.max(Math.ceil(step / every), Math.floor(first / every) + 1) * every;
  return next - step;
}

/** Share of an update that tensors of this age take; those that do not exist yet have no gradient to take. */
function share(born: number, step: number, o: IncreloraOptions): number {
  const warmup = o.warmup ?? o.every;
  if (born < 0 || warmup === 0) return 1;
  return Math.min(1, (step - born) / warmup);
}
