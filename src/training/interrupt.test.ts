import { spawn } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { expect, test } from 'vitest';
import { listenForInterrupt, type SignalSource } from './interrupt.ts';

test('first signal: abort; second: exit with 130; disposed: nothing', () => {
  const exits: number[] = [];
  const events: string[] = [];
  const emitter = new EventEmitter();
  const source = Object.assign(emitter, {
    exit: (code: number) => exits.push(code),
  }) as unknown as SignalSource;
  const { signal, dispose } = listenForInterrupt({
    source,
    onFirst: (name) => events.push(`first ${name}`),
    onSecond: () => events.push('second'),
  });
  expect(signal.aborted).toBe(false);
  emitter.emit('SIGTERM', 'SIGTERM');
  expect([signal.aborted, signal.reason, exits]).toEqual([true, 'SIGTERM', []]);
  emitter.emit('SIGINT', 'SIGINT');
  expect([events, exits]).toEqual([['first SIGTERM', 'second'], [130]]);
  dispose();
  expect(emitter.listenerCount('SIGINT') + emitter.listenerCount('SIGTERM')).toBe(0);
});

const program = (untilSaved: number) => `
  import { listenForInterrupt } from ${JSON.stringify(new URL('./interrupt.ts', import.meta.url).href)};
  const interruption = listenForInterrupt();
  const work = setInterval(() => {}, 1000);
  interruption.signal.addEventListener('abort', () => {
    console.log('saving');
    setTimeout(() => { console.log('saved'); clearInterval(work); interruption.dispose(); }, ${untilSaved});
  });
  console.log('ready');
`;

async function interrupted(untilSaved: number, signals: number) {
  const child = spawn(process.execPath, [
    '--import',
    'tsx',
    '--input-type=module',
    '-e',
    program(untilSaved),
  ]);
  let output = '';
  let sent = 0;
  child.stdout.on('data', (chunk) => {
    output += chunk;
    if (sent < signals) {
      sent++;
      child.kill('SIGINT');
    }
  });
  const [code] = await once(child, 'close');
  return { code, output };
}

test('a real process saves and ends by itself after one Ctrl-C', async () => {
  expect(await interrupted(50, 1)).toEqual({ code: 0, output: 'ready\nsaving\nsaved\n' });
});

test('and ends at once after two', async () => {
  const started = performance.now();
  expect(await interrupted(30_000, 2)).toEqual({ code: 130, output: 'ready\nsaving\n' });
  expect(performance.now() - started).toBeLessThan(15_000);
});
