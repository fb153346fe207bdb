import type { StudyEvent, StudyResult, StudyState } from '../../studies/index.ts';
import { canRedraw, number, table } from '../terminal/index.ts';
import { redraw } from '../terminal/redraw.ts';

/** Shows a study as it fills: a table that is redrawn in place, or a line for each run where that cannot be. */
export interface LiveTable {
  event(event: StudyEvent, state: StudyState): void;
  /** After each run: what the study says so far. */
  result(result: StudyResult): void;
  end(): void;
}

export function liveTable(stream: NodeJS.WriteStream): LiveTable {
  const screen = canRedraw(stream) ? redraw(stream) : undefined;
  const say = (text: string) => (screen ? screen.print(text) : stream.write(`${text}\n`));
  let last: StudyResult | undefined;
  const running = new Map<string, string>();
  const draw = () => {
    if (!screen || !last) return;
    const rows = last.methods.map((m) => [
      m.amongBest ? `${m.label} ●` : m.label,
      m.treatment,
      m.mean === undefined ? '' : number(m.mean),
      m.interval ? m.interval.map(number).join(' – ') : '',
      `${m.runs.filter((r) => r.state === 'done').length}/${last!.seeds.length}`,
    ]);
    const { done, total } = last.progress;
    const header = ['method', 'settings', last.metric.name, '95 %', 'seeds'];
    const lines = table(rows.slice(0, Math.max(5, (stream.rows ?? 40) - 8)), {
      header,
      width: stream.columns,
    });
    screen.draw([...lines, '', `${done} of ${total} runs`, ...running.values()]);
  };
  return {
    event(event) {
      if (event.type === 'notice') say(event.text);
      if (event.type === 'progress' && event.event.type === 'step') {
        const { run, event: step } = event;
        running.set(
          run.key,
          `  ${run.method} seed ${run.seed}: update ${step.step}, loss ${number(step.loss)}`,
        );
        draw();
      }
      if (event.type === 'run' && event.run.state !== 'running') {
        const { run, reused } = event;
        running.delete(run.key);
        const score = run.scores?.[0];
        const what = score
          ? `${score.metric} ${number(score.mean)}`
          : (run.reason ?? validationOf(run.validation));
        const note = reused ? ' (known)' : '';
        if (!screen) say(`${run.method}, ${run.purpose}, seed ${run.seed}: ${run.state}${note}  ${what}`);
      }
    },
    result(result) {
      last = result;
      draw();
    },
    end: () => screen?.end(),
  };
}

function validationOf(value: number | undefined): string {
  return value === undefined ? '' : `validation ${number(value)}`;
}
