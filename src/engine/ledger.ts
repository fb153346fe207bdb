export type MemoryKind = 'weights' | 'adapter' | 'gradients' | 'optimizer' | 'activations' | 'data';

/** Knows how many bytes of what kind are alive, and the most that ever were. */
export class Ledger {
  private readonly entries = new Map<string, { kind: MemoryKind; bytes: number }>();
  private current = 0;
  private highest = 0;

  /** Records that `name` is alive; a second record of one name replaces the first. */
  hold(kind: MemoryKind, name: string, bytes: number): void {
    this.free(name);
    this.entries.set(name, { kind, bytes });
    this.current += bytes;
    this.highest = Math.max(this.highest, this.current);
  }

  free(name: string): void {
    this.current -= this.entries.get(name)?.bytes ?? 0;
    this.entries.delete(name);
  }

  /** Bytes alive now. */
  get alive(): number {
    return this.current;
  }

  /** Most bytes that were alive at once. */
  get peak(): number {
    return this.highest;
  }

  /** Bytes alive by kind. */
  byKind(): Partial<Record<MemoryKind, number>> {
    const totals: Partial<Record<MemoryKind, number>> = {};
    for (const { kind, bytes } of this.entries.values()) totals[kind] = (totals[kind] ?? 0) + bytes;
    return totals;
  }
}
