import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { openDisplay } from './display.ts';
import { canRedraw, PLAIN, styleFor } from './style.ts';

/** A terminal of its own: understands what `redraw` sends, and fails on anything else. */
function emulator(columns = 60, rows = 30) {
  const lines: string[] = [''];
  let y = 0;
  let x = 0;
  let hidden = false;
  const sent: string[] = [];
  const put = (c: string): void => {
    lines[y] = (lines[y] ?? '').padEnd(x).slice(0, x) + c + (lines[y] ?? '').slice(x + 1);
    x++;
  };
  const control = (code: string): void => {
    if (code === '\n') [y, x] = [y + 1, 0];
    else if (code === '\r') x = 0;
    else if (/\[\d+A/.test(code)) y -= Number(code.slice(2, -1));
    else if (code.endsWith('[K')) lines[y] = (lines[y] ?? '').slice(0, x);
    else if (code.endsWith('[J')) lines.splice(y, lines.length, (lines[y] ?? '').slice(0, x));
    else if (code.endsWith('?25l')) hidden = true;
    else if (code.endsWith('?25h')) hidden = false;
    else if (!code.includes('?2026')) throw new Error(`unknown code ${JSON.stringify(code)}`);
    if (y < 0) throw new Error('above the screen');
    for (let i = lines.length; i <= y; i++) lines.push('');
  };
  return {
    isTTY: true,
    columns,
    rows,
    write(text: string) {
      sent.push(text);
      // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is tested
      for (const part of text.match(/\x1b\[\??\d*[A-Za-z]|[\n\r]|[^\x1b\n\r]/gu) ?? [])
        if (part.length > 1 || part === '\n' || part === '\r') control(part);
        else put(part);
      return true;
    },
    screen: () => lines.join('\n').trimEnd(),
    sent,
    isHidden: () => hidden,
  };
}

const env = { TERM: 'xterm', NO_COLOR: '1' };

describe('in a terminal', () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  test('redrawn in place, one write a frame, messages above, the cursor given back', () => {
    const stream = emulator();
    const listeners = process.listenerCount('exit');
    const display = openDisplay({ title: 'my run', total: 10, stream, env, interval: 100 });
    for (let step = 1; step <= 5; step++) display.logged({ step, loss: 5 - step });
    display.evaluated({ step: 5, values: { accuracy: 0.5 }, best: true });
    vi.advanceTimersByTime(1000);
    expect(stream.sent).toHaveLength(11);
    expect(stream.isHidden()).toBe(true);
    display.print('saved step-5');
    display.status('evaluating');
    vi.advanceTimersByTime(100);
    const screen = stream.screen().split('\n');
    expect(screen[0]).toBe('saved step-5');
    expect(screen[1]).toMatch(/^my run +evaluating$/);
    expect(screen[2]).toContain('5/10  50.0 %');
    expect(screen.filter((line) => line.includes('my run'))).toHaveLength(1);
    expect(screen.at(-1)).toMatch(/5 +0\.5000 +best/);
    display.end('done');
    display.end('done');
    expect(stream.screen()).toMatch(/my run +done\n/);
    expect(stream.isHidden()).toBe(false);
    expect(process.listenerCount('exit')).toBe(listeners);
    const frames = stream.sent.length;
    vi.advanceTimersByTime(1000);
    expect(stream.sent).toHaveLength(frames);
  });

  test('a lower frame leaves nothing of the higher one behind', () => {
    const stream = emulator(60, 30);
    const display = openDisplay({ title: 'run', total: 10, stream, env, interval: 100 });
    display.logged({ step: 1, loss: 1, rate: 0.5 });
    vi.advanceTimersByTime(100);
    const before = stream.screen().split('\n').length;
    stream.rows = 10;
    vi.advanceTimersByTime(100);
    const after = stream.screen().split('\n');
    expect(after.length).toBeLessThan(before);
    expect(after.filter((line) => line.startsWith('loss '))).toHaveLength(1);
    display.end('done');
  });
});

test('elsewhere plain lines, one for each event', () => {
  const parts: string[] = [];
  const stream = { isTTY: false, write: (part: string) => parts.push(part) > 0 };
  const display = openDisplay({ title: 'my run', total: 20, stream, env });
  display.logged({ step: 10, loss: 2.5, rate: 0.01 });
  display.status('evaluating');
  display.evaluated({ step: 10, values: { 'eval/loss': 2.25 } });
  display.print('saved step-10');
  display.end('done');
  display.end('done');
  expect(parts.join('')).toBe(
    'my run\nstep 10/20  loss 2.5000  rate 0.0100\nstep 10/20  eval/loss 2.2500\nsaved step-10\ndone\n',
  );
});

test.each([
  [{ isTTY: true }, { TERM: 'xterm' }, true, true],
  [{ isTTY: true }, { TERM: 'xterm', NO_COLOR: '1' }, true, false],
  [{ isTTY: true }, { TERM: 'xterm', NO_COLOR: '' }, true, true],
  [{ isTTY: true }, { TERM: 'xterm', CI: 'true' }, false, true],
  [{ isTTY: true }, { TERM: 'xterm', CI: 'false' }, true, true],
  [{ isTTY: true }, { TERM: 'dumb' }, false, false],
  [{}, { TERM: 'xterm' }, false, false],
])('%j with %j: redraws %s, colours %s', (stream, environment, redraws, colours) => {
  expect(canRedraw(stream, environment)).toBe(redraws);
  expect(styleFor(stream, environment) !== PLAIN).toBe(colours);
});
