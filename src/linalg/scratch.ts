/** What the last decompositions worked in: the collector may take it, but until it does the next one has it. */
const held = new Map<string, WeakRef<Float64Array>>();

/**
 * Memory for intermediate results, whatever it holds: one decomposition after the other would else leave garbage of many
 * times their size behind. The next call by this name gives the same memory away.
 */
export function scratch(name: string, length: number): Float64Array {
  let memory = held.get(name)?.deref();
  if (!memory || memory.length < length) {
    memory = new Float64Array(length);
    held.set(name, new WeakRef(memory));
  }
  return memory.subarray(0, length);
}
