/** Every error that a user can cause: a stable code, the culprit and the remedy. */
export class RankineError extends Error {
  override readonly name = 'RankineError';
  /** Stable and machine-readable, `room/what-happened`, e.g. `data/broken-line`. */
  readonly code: string;
  /** What to do about it, in one sentence. */
  readonly remedy?: string;

  /**
   * @param code    stable code, `room/what-happened`
   * @param message states the fact and names the culprit (file, line, tensor, shapes, field)
   * @param remedy  what the user can do
   */
  constructor(code: string, message: string, remedy?: string, options?: ErrorOptions) {
    super(remedy ? `${message} ${remedy}` : message, options);
    this.code = code;
    this.remedy = remedy;
  }
}

/** A failed promise of our own code, never the user's fault. */
export function invariant(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Error(`internal: ${message}`);
}
