import { timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';

/** Why a request is turned away. */
export interface Refusal {
  readonly status: 403 | 421;
  readonly message: string;
}

/**
 * Turns away what did not come from the studio's own pages. A page elsewhere may get a name to point here (DNS
 * rebinding): its requests carry that name in Host. Changes also need the token, which only our pages hold.
 */
export function refusal(request: IncomingMessage, port: number, token: string): Refusal | undefined {
  const hosts = [`127.0.0.1:${port}`, `localhost:${port}`];
  const { host, origin } = request.headers;
  if (host === undefined || !hosts.includes(host))
    return { status: 421, message: `This server answers to ${hosts.join(' and ')} only.` };
  if (request.method === 'GET' || request.method === 'HEAD') return undefined;
  if (origin !== undefined && !hosts.some((own) => origin === `http://${own}`))
    return { status: 403, message: 'The request comes from another site.' };
  const given = request.headers['x-rankine-token'];
  if (typeof given === 'string' && sameText(given, token)) return undefined;
  return { status: 403, message: 'The page is from an earlier start of the studio: load it again.' };
}

/** Compares in a time that does not tell where texts differ. */
function sameText(a: string, b: string): boolean {
  const [x, y] = [Buffer.from(a), Buffer.from(b)];
  return x.length === y.length && timingSafeEqual(x, y);
}

/** Headers of every answer: no other site may frame, sniff or keep it. */
export const HEADERS: Readonly<Record<string, string>> = {
  'cache-control': 'no-store',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'content-security-policy': "frame-ancestors 'none'",
  'cross-origin-resource-policy': 'same-origin',
  'cross-origin-opener-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
};
