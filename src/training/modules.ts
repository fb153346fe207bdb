/** The module that a parameter belongs to: its name without the last part. */
export function moduleOf(parameter: string): string {
  return parameter.replace(/\.[^.]+$/, '');
}

/** What modules are called in every block, each once: `mlp.up_proj` for `model.layers.3.mlp.up_proj`. */
export function nameInBlocks(modules: Iterable<string>): string[] {
  return [...new Set([...modules].map((m) => m.replace(/^.*\.\d+\./, '')))];
}
