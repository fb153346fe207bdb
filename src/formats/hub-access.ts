import { RankineError } from '../errors.ts';
import type { HubSettings } from './hub-cache.ts';

/** What every call of the hub's client is given. */
export interface HubAccess {
  readonly hubUrl: string;
  readonly accessToken?: string;
  readonly fetch?: typeof fetch;
}

/**
 * Endpoint and token. The client takes tokens of huggingface.co only (`hf_…`); those of mirrors and of hubs of one's own
 * go in the header of every request to the endpoint, and to no other host.
 * @throws RankineError `formats/hub-denied` where no header can hold the token
 */
export function hubAccess({ endpoint, token }: HubSettings): HubAccess {
  if (!token) return { hubUrl: endpoint };
  // Wider than RFC 6750, section 2.1: whatever a header can hold as one word.
  if (!/^[\x21-\x7e]+$/.test(token))
    throw new RankineError(
      'formats/hub-denied',
      'The token in HF_TOKEN holds spaces or other characters that no token has.',
      'Copy it again.',
    );
  if (token.startsWith('hf_')) return { hubUrl: endpoint, accessToken: token };
  return { hubUrl: endpoint, fetch: withToken(token, new URL(endpoint).origin) };
}

function withToken(token: string, origin: string): typeof fetch {
  return (input, init) => {
    const request = new Request(input, init);
    if (new URL(request.url).origin === origin) request.headers.set('authorization', `Bearer ${token}`);
    return fetch(request);
  };
}
