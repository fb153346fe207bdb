import type { MethodSummary, StudyResult } from './results.ts';

/** The result as Markdown: the verdict in words, the table, what is not claimed. */
export function studyMarkdown(result: StudyResult): string {
  const { verdict, caveats, metric, methods } = result;
  const head = [
    'method',
    'settings',
    metric.name,
    '95 %',
    'spread',
    'trained',
    'peak MB',
    'predicted MB',
    'seconds',
  ];
  const lines = [
    `# ${result.question || result.name}`,
    '',
    `**${verdict.headline}**`,
    '',
    ...verdict.details.map((text) => `- ${text}`),
    '',
    ...(result.baseline === undefined
      ? []
      : [`Before training: ${metric.name} ${shown(result.baseline, metric.name)}.`, '']),
    row(head),
    row(head.map(() => '---')),
    ...methods.map((m) => row(cells(m, metric.name))),
    '',
    'Bold: cannot be told from the best (paired over seeds and examples, Holm over all pairs, 5 %).',
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

function cells(m: MethodSummary, metric: string): string[] {
  const name = m.amongBest ? `**${m.label}**` : m.label;
  const settings = Object.entries(m.settings).map(([k, v]) => `${k} ${JSON.stringify(v)}`);
  const score = m.mean === undefined ? failure(m) : shown(m.mean, metric);
  return [
    name,
    m.treatment === 'tuned' ? `tuned: ${settings.join(', ') || 'default'}` : 'default',
    m.mean !== undefined && m.failed > 0 ? `${score} (${m.failed} failed)` : score,
    m.interval ? m.interval.map((x) => shown(x, metric)).join(' – ') : '',
    m.spread === undefined ? '' : shown(m.spread, metric),
    m.trainable === undefined ? '' : Math.round(m.trainable).toLocaleString('en'),
    megabytes(m.peakMemory),
    megabytes(m.predictedMemory),
    m.seconds === undefined ? '' : m.seconds.toFixed(1),
  ];
}

function failure({ runs }: MethodSummary): string {
  const [first] = runs.filter((r) => r.reason !== undefined);
  return first ? `${first.state}` : '…';
}

function megabytes(bytes: number | undefined): string {
  return bytes === undefined ? '' : String(Math.round(bytes / 1e6));
}

function shown(value: number, metric: string): string {
  return metric === 'loss' ? value.toFixed(4) : `${(100 * value).toFixed(1)} %`;
}
