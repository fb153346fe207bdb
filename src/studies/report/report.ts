import type { StudyResult } from '../results.ts';
import { comparisons } from './comparisons.ts';
import { learningCurves } from './curves.ts';
import { type Html, html, jsonFor } from './html.ts';
import { memoryBars } from './memory.ts';
import { page } from './page.ts';
import { provenance } from './provenance.ts';
import { ranks } from './ranks.ts';
import { shellWord } from './recipe.ts';
import { resultsTable } from './table.ts';
import { tradeoff } from './tradeoff.ts';
import { verdictSection } from './verdict.ts';
import { viewOf } from './view.ts';

export interface ReportOptions {
  /** Command that runs the run of a folder again. */
  readonly replay?: (folder: string) => string;
}

/**
 * A study as one HTML file that opens from disk and asks the network for nothing: the verdict in words, quality against
 * cost, the table with every row's recipe, learning curves, ranks, memory, comparisons, conditions.
 */
export function renderReport(result: StudyResult, options: ReportOptions = {}): string {
  const body = html`${topBar(html`<b class="brand">${result.name}</b>`)}<main id="report">${reportBody(result, options)}</main>`;
  return page({ title: `${result.name}: ${result.verdict.headline}`, body });
}

/** What stands inside the page, without its head: the studio puts it anew while runs go on. */
export function reportBody(result: StudyResult, options: ReportOptions = {}): Html {
  const replay = options.replay ?? ((folder) => `npx rankine replay ${shellWord(folder)}`);
  const view = viewOf(result);
  return html`${verdictSection(view)}
${tradeoff(view)}${result.methods.length > 0 && resultsTable(view, { replay })}
${learningCurves(view)}${ranks(view)}${memoryBars(view)}${comparisons(view)}${provenance(view)}
<footer><p>Study <code>${result.name}</code> in <code>${result.folder}</code>. <button type="button" class="link" data-save="${`${result.name}.json`}">Save the data as JSON</button></p></footer>
<script type="application/json" id="study-data">${jsonFor(withoutExamples(result))}</script>`;
}

/** The bar with the way to the sections (those that the page has) and the switch of colours. */
export function topBar(before: Html): Html {
  const sections = [
    ['verdict', 'Verdict'],
    ['tradeoff', 'Cost'],
    ['table', 'Methods'],
    ['curves', 'Curves'],
    ['ranks', 'Ranks'],
    ['memory', 'Memory'],
    ['comparisons', 'Pairs'],
    ['plan', 'Conditions'],
  ];
  const links = sections.map(([id, title]) => html`<a href="#${id}">${title}</a>`);
  return html`<a class="skip" href="#report">To the report</a><header class="top">${before}<nav aria-label="Sections">${links}</nav>
<button type="button" class="theme" data-theme-switch aria-label="Switch between light and dark"><span aria-hidden="true">◐</span></button></header>`;
}

/** Scores of single examples are for tests, not for a page: they would be most of it. */
function withoutExamples(result: StudyResult): unknown {
  const methods = result.methods.map((m) => ({
    ...m,
    runs: m.runs.map((r) => ({
      ...r,
      scores: r.scores?.map(({ metric, direction, mean }) => ({ metric, direction, mean })),
    })),
  }));
  return { ...result, methods };
}
