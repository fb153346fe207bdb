/**
 * Turns WikiText's whitespace-tokenised lines back into ordinary prose.
 * Sentences that hold `<unk>` are dropped: a base model should not learn to say it.
 */

/** Replacements in order; each undoes one habit of the tokeniser that WikiText was made with. */
const RULES: readonly [RegExp, string][] = [
  [/ @([-,.])@ /g, '$1'], // "12 @-@ day", "4 @,@ 386", "3 @.@ 4"
  [/ ([,.;:!?%)\]])/g, '$1'],
  [/([([$£€]) /g, '$1'],
  [/ '(s|t|re|ve|m|ll|d)\b/g, "'$1"],
  [/ n't\b/g, "n't"],
  [/s ' /g, "s' "],
  [/ – (?=\d)/g, '–'],
  [/" ([^"]*?) "/g, '"$1"'],
  [/\s+/g, ' '],
];

/** One tokenised sentence or paragraph as prose. */
export function detokenise(tokenised: string): string {
  let text = tokenised;
  for (const [pattern, replacement] of RULES) text = text.replace(pattern, replacement);
  return text.trim();
}

/** The sentences of a tokenised paragraph that hold no `<unk>`, as prose. */
function knownSentences(paragraph: string): string {
  const sentences = paragraph.split(/(?<= [.?!]) /);
  return detokenise(sentences.filter((sentence) => !sentence.includes('<unk>')).join(' '));
}

/** Paragraphs of a WikiText file as prose, headings removed; paragraphs that lose every sentence are left out. */
export function wikitextParagraphs(file: string): string[] {
  return file
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('= '))
    .map(knownSentences)
    .filter((text) => text.length > 40);
}
