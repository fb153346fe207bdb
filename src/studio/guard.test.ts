import type { IncomingMessage } from 'node:http';
import { describe, expect, it } from 'vitest';
import { refusal } from './guard.ts';

function request(method: string, headers: Record<string, string>): IncomingMessage {
  return { method, headers } as unknown as IncomingMessage;
}

const status = (method: string, headers: Record<string, string>) =>
  refusal(request(method, headers), 4173, 'secret')?.status;

describe('the guard', () => {
  it('answers to its own names only', () => {
    expect(status('GET', { host: '127.0.0.1:4173' })).toBeUndefined();
    expect(status('GET', { host: 'localhost:4173' })).toBeUndefined();
    for (const host of ['evil.example:4173', '127.0.0.1', '127.0.0.1:80', '127.0.0.1:4173.evil.example'])
      expect(status('GET', { host })).toBe(421);
    expect(status('GET', {})).toBe(421);
  });

  it('changes nothing without the token, nor for another site', () => {
    const host = '127.0.0.1:4173';
    expect(status('POST', { host })).toBe(403);
    expect(status('POST', { host, 'x-rankine-token': 'wrong' })).toBe(403);
    expect(status('POST', { host, 'x-rankine-token': 'secret' })).toBeUndefined();
    expect(status('POST', { host, 'x-rankine-token': 'secret', origin: 'http://evil.example' })).toBe(403);
    expect(status('POST', { host, 'x-rankine-token': 'secret', origin: `http://${host}` })).toBeUndefined();
  });
});
