import type { ReplayEvent } from '../../studies/index.ts';
import { canRedraw, number, styleFor } from '../terminal/index.ts';
import { redraw } from '../terminal/redraw.ts';

/** A line for every row: redrawn while it goes on, left standing when it has ended. */
export interface LiveRows {
  event(event: ReplayEvent): void;
  end(): void;
}

export function liveRows(stream: NodeJS.WriteStream): LiveRows {
  const screen = canRedraw(stream) ? redraw(stream) : undefined;
  const style = styleFor(stream);
  const running = new Map<string, string>();
  let [rows, ended] = [0, 0];
  const draw = () => screen?.draw([`${ended} of ${rows} rows`, ...running.values()]);
  const say = (row: string, text: string) => {
    running.delete(row);
    if (!screen) stream.write(`${text}\n`);
    else {
      screen.print(text);
      draw();
    }
  };
  return {
    event(event) {
      if (event.type === 'begin') {
        [rows, ended] = [event.rows, event.known];
        if (event.known > 0) stream.write(`${event.known} of ${event.rows} rows were replayed before.\n`);
      }
      if (event.type === 'progress' && event.event.type === 'step') {
        const { step, loss } = event.event;
        running.set(event.row, `  ${event.row}  update ${step}, loss ${number(loss)}`);
        draw();
      }
      if (event.type === 'end') {
        ended++;
        const { row, same } = event.record;
        say(row, `${same ? style.good('same bytes') : style.warn('other bytes')}  ${row}`);
      }
      if (event.type === 'failed') say(event.row, `${style.warn('failed')}  ${event.row}  ${event.reason}`);
      if (event.type === 'stopped') say(event.row, `stopped  ${event.row}`);
    },
    end: () => screen?.end(),
  };
}
