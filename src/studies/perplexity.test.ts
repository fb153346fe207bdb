import { expect, test } from 'vitest';
import { madeStudy } from '../../tests/study-result.ts';
import { studyMarkdown } from './markdown.ts';
import { perplexityOf } from './perplexity.ts';
import { withReplays } from './replays.ts';
import { renderReport } from './report/index.ts';
import type { StudyResult } from './results.ts';

/** A study of losses whose test rows have `targets` targets each. */
function losses(targets: number): StudyResult {
  const made = madeStudy({ metric: 'loss', tuned: false, examples: 60 });
  const weighted = structuredClone(made) as unknown as {
    methods: { runs: { scores?: { weights: number[]; examples: number[] }[] }[] }[];
  };
  for (const run of weighted.methods.flatMap((m) => m.runs))
    for (const score of run.scores ?? []) score.weights = score.examples.map(() => targets);
  return withReplays({ ...(weighted as unknown as StudyResult), test: undefined }, []);
}

test('is exp of the mean loss, to four digits', () => {
  const show = perplexityOf(losses(7));
  expect([0, 1, 5.135, 9.42, 12].map((x) => show?.(x))).toEqual([
    '1.000',
    '2.718',
    '169.9',
    '12,330',
    '162,800',
  ]);
});

test('is of texts only: neither of classes nor of other metrics', () => {
  expect(perplexityOf(losses(1))).toBeUndefined();
  expect(perplexityOf(madeStudy({ tuned: false, examples: 20 }))).toBeUndefined();
});

test('stands beside the loss in words and tables', () => {
  const result = losses(7);
  const best = result.methods.find((m) => m.amongBest);
  const own = `perplexity ${perplexityOf(result)?.(best?.mean as number)}`;
  expect(result.verdict.details.join()).toContain(own);
  expect(studyMarkdown(result)).toContain('| loss | perplexity |');
  expect(renderReport(result)).toContain(`<small>${own}</small>`);
  expect(studyMarkdown(losses(1)) + renderReport(losses(1))).not.toContain('perplexity');
});
