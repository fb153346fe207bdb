import { finishedRuns, metricName } from '../naming.ts';
import type { Interval, MethodSummary } from '../results.ts';
import { bytes, count, difference, range, score, seconds, settings } from './format.ts';
import { type Html, html } from './html.ts';
import { rowDetails } from './row-details.ts';
import { outerFence, px } from './scale.ts';
import { distinction, type Entry, failures, type View } from './view.ts';

export interface TableOptions {
  /** Command that runs a run of the study again. */
  readonly replay: (folder: string) => string;
}

interface Column {
  readonly id: string;
  readonly title: string;
  readonly hint?: string;
  /** What rows are sorted by; undefined goes last. */
  readonly key: (entry: Entry) => number | string | undefined;
  readonly cell: (entry: Entry) => Html | string | undefined;
  readonly kind: 'text' | 'number';
}

/** Methods under both treatments with all that was measured; each row opens to its runs and recipes. */
export function resultsTable(view: View, options: TableOptions): Html {
  const columns = columnsOf(view);
  const heads = columns.map(
    (c) =>
      html`<th scope="col" class="${c.kind}"><button type="button" data-sort="${c.id}"${c.hint && html` title="${c.hint}"`}>${c.title}<i aria-hidden="true"></i></button></th>`,
  );
  const rows = view.entries.map((entry) => row(view, entry, columns, options));
  return html`<section id="table"><h2>All methods</h2>
<p class="lead">${lead(view)}</p>
${filters(view)}
<div class="scroll" tabindex="0" role="region" aria-label="Table of all methods"><table class="results"><caption class="unseen">Methods, what they reach and what they cost</caption>
<thead><tr>${heads}</tr></thead>${rows}</table></div><p class="none" hidden>No method matches.</p></section>`;
}

function lead({ both, perplexity, result }: View): string {
  return [
    ...(both
      ? [
          'Default: as the study’s recipe has it; tuned: the best of the same search for every method, on validation data.',
        ]
      : []),
    `Intervals are 95 %, over seeds and test examples. ● cannot be told from the best${both ? ' with the same kind of settings' : ''}.`,
    ...(perplexity ? ['Perplexity is exp of the mean loss: the same measure in another scale.'] : []),
    ...((result.replays ?? []).length > 0
      ? ['Replayed: seeds that gave the same bytes when run again.']
      : []),
    'Open a row for its runs, recipes and commands.',
  ].join(' ');
}

function filters({ both }: View): Html {
  const treatment = html`<label>Settings <select name="treatment"><option value="">both</option><option>tuned</option><option>default</option></select></label>`;
  return html`<div class="controls filters" role="search" aria-label="Filter methods">
<label class="search"><span class="unseen">Find a method</span><input type="search" name="find" placeholder="Find a method" autocomplete="off"></label>
${both && treatment}<label class="check"><input type="checkbox" name="best">only the best</label><label class="check"><input type="checkbox" name="whole">without failures</label></div>`;
}

function columnsOf(view: View): Column[] {
  const { metric } = view.result;
  const graphic = intervalGraphic(view);
  const number = (
    id: string,
    title: string,
    pick: (m: MethodSummary) => number | undefined,
    show: (value: number) => string,
    hint?: string,
  ): Column => ({
    ...{ id, title, hint, kind: 'number' },
    key: ({ summary }) => pick(summary),
    cell: ({ summary }) => {
      const value = pick(summary);
      return value === undefined ? undefined : show(value);
    },
  });
  const columns: Column[] = [
    {
      id: 'method',
      title: 'Method',
      kind: 'text',
      key: (e) => e.summary.label,
      cell: (e) => methodCell(e, distinction(view)),
    },
    {
      ...{ id: 'settings', title: 'Settings', kind: 'text' },
      key: (e) => e.summary.treatment,
      cell: ({ summary }) => settingsCell(summary),
    },
    {
      ...number(
        'score',
        metricName(metric),
        (m) => m.mean,
        (x) => score(x, metric),
      ),
      cell: ({ summary }) => scoreCell(summary, view),
    },
    { id: 'interval', title: '95 % interval', kind: 'text', key: (e) => e.summary.mean, cell: graphic },
    number(
      'spread',
      'Spread',
      (m) => m.spread,
      (x) => difference(x, metric).replace('+', ''),
      'Standard deviation over seeds',
    ),
    number(
      'forgetting',
      'Forgetting',
      (m) => m.forgetting,
      (x) => difference(x, { name: 'loss' }),
      'Rise of the loss on general text; below 0: it fell',
    ),
    number('trainable', 'Trained', (m) => m.trainable, count, 'Trained numbers'),
    number('memory', 'Memory', (m) => m.peakMemory, bytes, 'Peak resident memory, measured'),
    number(
      'time',
      'Time',
      (m) => m.seconds,
      seconds,
      'Processor time of a run, all threads; wall time on other devices',
    ),
    number('size', 'On disk', (m) => m.size, bytes, 'Size of the adapter, or of the model'),
    replayColumn(view),
  ];
  const isEmpty = (c: Column) => view.entries.every((e) => c.cell(e) === undefined);
  return columns.filter((c) => !isEmpty(c));
}

function replayColumn(view: View): Column {
  const outcomes = ({ summary }: Entry) => summary.runs.flatMap((run) => view.replay(run) ?? []);
  return {
    ...{
      id: 'replay',
      title: 'Replayed',
      kind: 'number',
      hint: 'Seeds that gave the same bytes when run again',
    },
    key: (entry) => outcomes(entry).filter((r) => r.same).length || undefined,
    cell: (entry) => {
      const all = outcomes(entry);
      const other = all.filter((r) => !r.same).length;
      if (all.length === 0) return undefined;
      const same = `${all.length - other} of ${finishedRuns({ methods: [entry.summary] }).length}`;
      return html`${same}${other > 0 && html`<small class="bad">${other} other bytes</small>`}`;
    },
  };
}

function methodCell({ summary, id, recommended }: Entry, badge: string): Html {
  return html`<button type="button" class="open" aria-expanded="false" aria-controls="${id}-details"><i aria-hidden="true"></i><span>${summary.label}</span></button>${recommended && html`<span class="badge">${badge}</span>`}`;
}

function settingsCell({ treatment, settings: chosen }: MethodSummary): Html {
  const text = settings(chosen);
  return html`${treatment}${text !== '' && html`<small>${text}</small>`}`;
}

function scoreCell(summary: MethodSummary, { result, perplexity }: View): Html | undefined {
  const failed = failures(summary);
  const note = failed !== undefined && html`<small class="bad">${failed}</small>`;
  if (summary.mean === undefined) return failed === undefined ? undefined : html`${note}`;
  const best =
    summary.amongBest &&
    html`<span class="dot" role="img" aria-label="cannot be told from the best">●</span>`;
  const also = perplexity && html`<small>perplexity ${perplexity(summary.mean)}</small>`;
  return html`${best}<b>${score(summary.mean, result.metric)}</b>${also}${note}`;
}

const GRAPHIC = 120;

/** Intervals drawn on one scale for all rows, so that a column of them can be compared at a glance. */
function intervalGraphic({ entries, result }: View): Column['cell'] {
  const { metric } = result;
  const known = entries.filter(({ summary }) => summary.mean !== undefined);
  const worse = metric.direction === 'max' ? 'below' : 'above';
  const fence = outerFence(
    known.map((e) => e.summary.mean as number),
    worse,
  );
  const clamp = (x: number) => (worse === 'below' ? Math.max(x, fence) : Math.min(x, fence));
  const ends = known.flatMap(({ summary }) => summary.interval ?? [summary.mean as number]).map(clamp);
  const [low, high] = [Math.min(...ends), Math.max(...ends)];
  const at = (x: number) => 4 + ((clamp(x) - low) / (high - low || 1)) * (GRAPHIC - 8);
  return ({ summary: { mean, interval, amongBest } }) => {
    if (mean === undefined || !interval) return undefined;
    const picture = html`<svg class="interval${amongBest && ' best'}" viewBox="0 0 ${GRAPHIC} 14" aria-hidden="true"><path class="rule" d="M4 7H${GRAPHIC - 4}"/>${span(interval, at)}<circle cx="${px(at(mean))}" cy="7" r="3.5"/></svg>`;
    return html`${picture}<small>${range(interval, metric)}</small>`;
  };
}

function span([low, high]: Interval, at: (x: number) => number): Html {
  return html`<path d="M${px(at(low))} 7H${px(at(high))}"/>`;
}

function row(view: View, entry: Entry, columns: readonly Column[], options: TableOptions): Html {
  const { summary, id } = entry;
  const cells = columns.map((c, i) => {
    const content = c.cell(entry) ?? html`<span class="nothing">–</span>`;
    return i === 0
      ? html`<th scope="row" class="text">${content}</th>`
      : html`<td class="${c.kind}" data-column="${c.id}" data-title="${c.title}">${content}</td>`;
  });
  const keys = Object.fromEntries(columns.map((c) => [c.id, c.key(entry) ?? null]));
  return html`<tbody data-method="${summary.method}" data-treatment="${summary.treatment}" data-id="${id}" data-best="${String(summary.amongBest)}" data-failed="${summary.failed}" data-label="${summary.label}" data-keys="${JSON.stringify(keys)}">
<tr class="row${entry.decides && ' decides'}">${cells}</tr>
<tr class="details" id="${id}-details" hidden><td colspan="${columns.length}">${rowDetails(view, entry, options)}</td></tr></tbody>`;
}
