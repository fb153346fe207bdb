/** `--targets`: names after commas are suffixes; anything with other signs is one regular expression over whole paths. */
export function parseTargets(text: string): string | string[] {
  if (text === 'all-linear' || !/^[\w.,-]+$/.test(text)) return text;
  return text.split(',').filter(Boolean);
}
