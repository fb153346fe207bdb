import { finishedRuns, metricName, rowName } from './naming.ts';
import { perplexityOf } from './perplexity.ts';
import type { MethodSummary, ReplayRecord, StudyResult } from './results.ts';

/** The result as Markdown: the verdict in words, the table, what is not claimed. */
export function studyMarkdown(result: StudyResult): string {
  const { verdict, caveats, methods } = result;
  const columns = columnsOf(result);
  const lines = [
    `# ${result.question || result.name}`,
    '',
    `**${verdict.headline}**`,
    '',
    ...verdict.details.map((text) => `- ${text}`),
    '',
    ...(verdict.smallPrint === undefined ? [] : [verdict.smallPrint, '']),
    ...(result.baseline === undefined ? [] : [`Before training: ${before(result, result.baseline)}.`, '']),
    row(columns.map(([title]) => title)),
    row(columns.map(() => '---')),
    ...methods.map((m) => row(columns.map(([, cell]) => cell(m)))),
    '',
    'Bold: cannot be told from the best (paired over seeds and examples; 5 % over all rivals of a method).',
    ...((result.replays ?? []).length > 0
      ? ['Replayed: seeds that gave the same bytes when run again.']
      : []),
    ...(perplexityOf(result) ? ['Perplexity: exp of the mean loss, the same measure in another scale.'] : []),
    '',
    ...caveats.map((text) => `- ${text}`),
    '',
    `${result.progress.done} of ${result.progress.total} runs, seeds ${result.seeds.join(', ')}, on ${result.hardware}.`,
  ];
  return `${lines.join('\n')}\n`;
}

function row(cells: readonly string[]): string {
  return `| ${cells.map((c) => c.replaceAll('|', '\\|')).join(' | ')} |`;
}

function before(result: StudyResult, loss: number): string {
  const { metric } = result;
  const perplexity = perplexityOf(result);
  return `${metricName(metric)} ${shown(loss, metric.name)}${perplexity ? ` (perplexity ${perplexity(loss)})` : ''}`;
}

type Column = readonly [title: string, cell: (m: MethodSummary) => string];

function columnsOf(result: StudyResult): Column[] {
  const { metric, replays = [] } = result;
  const optional = (value: number | undefined, show: (x: number) => string) =>
    value === undefined ? '' : show(value);
  const value = (x: number) => shown(x, metric.name);
  const perplexity = perplexityOf(result);
  const perplexities: Column = ['perplexity', (m) => optional(m.mean, (x) => perplexity?.(x) ?? '')];
  const replayed: Column = ['replayed', (m) => replayedCell(m, replays)];
  return [
    ['method', (m) => (m.amongBest ? `**${m.label}**` : m.label)],
    ['settings', settingsCell],
    [metricName(metric), (m) => scoreCell(m, metric.name)],
    ...(perplexity ? [perplexities] : []),
    ['95 %', (m) => m.interval?.map(value).join(' – ') ?? ''],
    ['spread', (m) => optional(m.spread, value)],
    ['trained', (m) => optional(m.trainable, (x) => Math.round(x).toLocaleString('en'))],
    ['peak MB', (m) => optional(m.peakMemory, megabytes)],
    ['predicted MB', (m) => optional(m.predictedMemory, megabytes)],
    ['seconds of computing', (m) => optional(m.seconds, (x) => x.toFixed(1))],
    ...(replays.length > 0 ? [replayed] : []),
  ];
}

function settingsCell({ treatment, settings }: MethodSummary): string {
  const chosen = Object.entries(settings).map(([k, v]) => `${k} ${JSON.stringify(v)}`);
  return treatment === 'tuned' ? `tuned: ${chosen.join(', ') || 'default'}` : 'default';
}

function scoreCell(m: MethodSummary, metric: string): string {
  if (m.mean === undefined) return failure(m);
  return m.failed > 0 ? `${shown(m.mean, metric)} (${m.failed} failed)` : shown(m.mean, metric);
}

/** `3 of 3`, of the seeds that can be repeated. */
function replayedCell(m: MethodSummary, replays: readonly ReplayRecord[]): string {
  const runs = finishedRuns({ methods: [m] });
  const own = replays.filter((r) => runs.some((run) => rowName(run) === r.row));
  if (own.length === 0) return '';
  const same = own.filter((r) => r.same).length;
  const other = own.length > same ? `, ${own.length - same} other bytes` : '';
  return `${same} of ${runs.length}${other}`;
}

function failure({ runs }: MethodSummary): string {
  const [first] = runs.filter((r) => r.reason !== undefined);
  return first ? `${first.state}` : '…';
}

function megabytes(bytes: number): string {
  return String(Math.round(bytes / 1e6));
}

function shown(value: number, metric: string): string {
  return metric === 'loss' ? value.toFixed(4) : `${(100 * value).toFixed(1)} %`;
}
