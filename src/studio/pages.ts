import type { StudyResult } from '../studies/index.ts';
import { asset, type Html, html, page, reportBody, topBar } from '../studies/report/index.ts';
import { type FoundStudy, shownPath } from './find-studies.ts';
import { formBody } from './form-page.ts';
import type { LiveRun } from './live-runs.ts';
import type { Ended } from './processes.ts';
import { runsBody } from './runs-body.ts';

export interface StudyPage {
  readonly study: FoundStudy;
  readonly result?: StudyResult;
  readonly runs: readonly LiveRun[];
  readonly process?: Ended;
}

export type ListedStudy = readonly [study: FoundStudy, result: StudyResult | undefined];

/** Where each part of a page is fetched again; the token lets its buttons change things. */
function studioPage(title: string, token: string, events: string, body: Html): string {
  const scripts = [asset(import.meta.url, 'client.js')];
  const head = html`<div id="studio" data-token="${token}" data-events="${events}" hidden></div>`;
  return page({
    title,
    body: html`${head}${body}`,
    styles: [asset(import.meta.url, 'studio.css')],
    scripts,
    connect: "'self'",
  });
}

export function listPage(studies: readonly ListedStudy[], token: string): string {
  const body = html`${plainBar()}<main><div data-part="/list" data-on="studies">${listBody(studies)}</div></main>`;
  return studioPage('Studies', token, '/events', body);
}

export function listBody(studies: readonly ListedStudy[]): Html {
  if (studies.length === 0)
    return html`<section class="empty"><h1>No study yet</h1><p class="lead">A study compares methods at one budget on your data.</p><p><a class="button primary" href="/new">New study</a></p></section>`;
  const cards = studies.map(([study, result]) => card(study, result));
  return html`<section><div class="list-head"><h1>Studies</h1><a class="button primary" href="/new">New study</a></div><ul class="cards">${cards}</ul></section>`;
}

function card(study: FoundStudy, result: StudyResult | undefined): Html {
  const done =
    result &&
    html`<progress max="${result.progress.total}" value="${result.progress.done}" aria-label="Runs that have ended"></progress><small>${result.progress.done} of ${result.progress.total} runs</small>`;
  return html`<li><a class="card" href="/study/${study.id}"><span class="card-head"><b>${study.name}</b>${badge(study, result)}</span>
<span class="card-text">${result?.verdict.headline ?? 'No run has ended yet.'}</span><span class="card-foot">${done ?? html`<small></small>`}<small>${shownPath(study.folder)}</small></span></a></li>`;
}

function badge({ pid }: FoundStudy, result: StudyResult | undefined): Html {
  if (pid !== undefined) return html`<span class="state running">running</span>`;
  if (!result) return html`<span class="state">not started</span>`;
  const { done, total } = result.progress;
  return done < total
    ? html`<span class="state stopped">stopped</span>`
    : html`<span class="state done">done</span>`;
}

export function newPage(folder: string, token: string): string {
  return studioPage('New study', token, '', html`${plainBar()}<main>${formBody(shownPath(folder))}</main>`);
}

export function studyPage(content: StudyPage, token: string): string {
  const { study } = content;
  const at = `/study/${study.id}`;
  const back = html`<a class="brand" href="/">‹ Studies</a>`;
  const body = html`${topBar(back)}<main>
<div data-part="${at}/runs" data-on="runs">${controlBody(content)}</div><div id="report" data-part="${at}/report" data-on="report">${reportPart(content)}</div></main>`;
  return studioPage(study.name, token, `/events?study=${study.id}`, body);
}

/** The report so far; before the first run has ended, what there is to wait for. */
export function reportPart({ result, study }: StudyPage): Html {
  return result
    ? reportBody(result)
    : html`<section><h1>${study.name}</h1><p class="lead">The report begins when the first run has ended.</p></section>`;
}

/** How the study stands, its buttons, and its runs. */
export function controlBody({ study, result, runs, process }: StudyPage): Html {
  const isRunning = study.pid !== undefined || process?.running === true;
  const isDone = result !== undefined && result.progress.done >= result.progress.total;
  const failed = process && !process.running && process.code !== 0 && process.code !== 130;
  const begun = result !== undefined || runs.length > 0;
  const state = isRunning ? 'running' : isDone ? 'done' : begun ? 'stopped' : 'not started';
  const button = isRunning
    ? html`<button type="button" class="button" data-post="/study/${study.id}/stop">Stop</button>`
    : !isDone &&
      study.file !== undefined &&
      html`<button type="button" class="button primary" data-post="/study/${study.id}/start">${begun ? 'Resume' : 'Start'}</button>`;
  return html`<section class="control" aria-label="The study's runs"><div class="control-head"><span class="state ${state.replace(' ', '-')}">${state}</span>
<span class="control-text">${progressText(result, isRunning)}</span><span class="post-error" role="alert"></span>${button}</div>
${failed && html`<div class="caveats" role="alert"><h2>It ended with an error</h2><pre>${process.log.trim()}</pre></div>`}
${runsBody(runs)}
${process && html`<details id="log"><summary>What it wrote</summary><pre>${process.log.trim() || 'Nothing yet.'}</pre></details>`}</section>`;
}

function progressText(result: StudyResult | undefined, isRunning: boolean): string {
  if (!result) return isRunning ? 'Planning, and the first runs.' : '';
  return `${result.progress.done} of ${result.progress.total} runs have ended.`;
}

function plainBar(): Html {
  return html`<header class="top"><a class="brand" href="/">Rankine studio</a><nav></nav><button type="button" class="theme" data-theme-switch aria-label="Switch between light and dark"><span aria-hidden="true">◐</span></button></header>`;
}

/** A page for what cannot be shown. */
export function errorPage(status: number, message: string): string {
  return studioPage(
    String(status),
    '',
    '',
    html`${plainBar()}<main><section class="empty"><h1>${message}</h1><p><a href="/">All studies</a></p></section></main>`,
  );
}
