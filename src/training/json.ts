/**
 * JSON that keeps every number: NaN, the infinities and -0, which plain JSON turns into null and 0, become
 * `{"$number": "NaN"}`. All other numbers come back bit by bit, as JavaScript prints the shortest text that does.
 */
export function toJson(value: unknown, indent?: number): string {
  return JSON.stringify(value, (_, v) => (isLost(v) ? { $number: numberName(v) } : v), indent);
}

/** The inverse of `toJson`; also reads plain JSON. */
export function fromJson(text: string): unknown {
  return JSON.parse(text, (_, v) => (isWrapped(v) ? Number(v.$number) : v));
}

function isLost(value: unknown): value is number {
  return typeof value === 'number' && (!Number.isFinite(value) || Object.is(value, -0));
}

function numberName(value: number): string {
  return Object.is(value, -0) ? '-0' : String(value);
}

function isWrapped(value: unknown): value is { $number: string } {
  return (
    typeof value === 'object' &&
    value !== null &&
    typeof (value as { $number?: unknown }).$number === 'string'
  );
}
