import { HubApiError } from '@huggingface/hub';
import { RankineError } from '../errors.ts';
import type { HubKind, HubSettings } from './hub-cache.ts';

/** A repository and a branch, tag or commit of it. */
export interface HubId {
  readonly name: string;
  readonly revision: string;
}

/** Turns what the hub, the network or its client report into a RankineError; any other error passes unchanged. */
export function explainHubError(error: unknown, settings: HubSettings, kind: HubKind, id: HubId): unknown {
  const what = `the ${kind} ${id.name}${id.revision === 'main' ? '' : ` at ${id.revision}`}`;
  if (error instanceof HubApiError) return explainStatus(error, settings, what);
  if (!isNetworkError(error)) return error;
  return new RankineError(
    'formats/hub-unreachable',
    `${settings.endpoint} cannot be reached for ${what} (${reason(error)}), and no copy in the cache was used.`,
    'Check the network and HF_ENDPOINT, or give a local folder.',
    { cause: error },
  );
}

function explainStatus(error: HubApiError, settings: HubSettings, what: string): RankineError {
  const { statusCode } = error;
  const options = { cause: error };
  if (statusCode === 401 || statusCode === 403)
    return new RankineError(
      'formats/hub-denied',
      `${settings.endpoint} refuses access to ${what} (${statusCode}): it does not exist, or it is private or gated.`,
      settings.token
        ? 'Check the name, and that the token in HF_TOKEN may read it; gated models must be accepted on their page.'
        : 'Check the name, or set HF_TOKEN to a token that may read it.',
      options,
    );
  if (statusCode === 404)
    return new RankineError(
      'formats/not-found',
      `There is no local path of that name, and ${settings.endpoint} knows nothing of ${what}.`,
      'Check the spelling of the id and of the revision.',
      options,
    );
  return new RankineError(
    'formats/hub-error',
    `${settings.endpoint} answers ${statusCode} for ${what}: ${error.message}`,
    'Try again later.',
    options,
  );
}

// `fetch` reports every failed connection as a TypeError and a broken stream as one too.
function isNetworkError(error: unknown): error is Error {
  const code = (error as NodeJS.ErrnoException | undefined)?.code ?? '';
  return (
    (error instanceof TypeError && /fetch failed|terminated/.test(error.message)) ||
    /^(UND_ERR|ECONN)/.test(code)
  );
}

function reason(error: Error): string {
  const cause = error.cause as NodeJS.ErrnoException | undefined;
  return cause?.code ?? cause?.message ?? error.message;
}
