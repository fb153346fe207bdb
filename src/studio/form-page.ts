import { forms } from '../adapters/index.ts';
import { optimizers } from '../optimizers/index.ts';
import { METRICS } from '../studies/index.ts';
import { type Html, html } from '../studies/report/index.ts';
import { FULL } from '../training/index.ts';

interface Field {
  readonly name: string;
  readonly label: string;
  readonly hint?: string;
  readonly value?: string;
  readonly kind?: 'text' | 'number';
}

/** The form that makes a study's file. Its checks are the server's; the page only shows them at the fields. */
export function formBody(folder: string): Html {
  return html`<section class="new-study"><h1>New study</h1>
<p class="lead">Which method, at your budget, on your data? The study is saved as a file in <code>${folder}</code>; <code>rankine compare</code> runs the same.</p>
<form id="study-form" novalidate>
${group('What it asks', [
  field({ name: 'name', label: 'Name', hint: 'of its file and folder: letters, digits, dots, dashes' }),
  field({ name: 'question', label: 'Question', hint: 'for the report' }),
])}
${group('Model and data', [
  field({ name: 'model', label: 'Model', value: 'quickstart/base', hint: 'a folder, or an id on the hub' }),
  field({ name: 'train', label: 'Training data', value: 'quickstart/data/train.jsonl' }),
  field({
    name: 'holdOut',
    label: 'Held out for validation',
    value: '0.1',
    hint: 'share of the training rows, or a count',
  }),
  field({
    name: 'test',
    label: 'Test data',
    value: 'quickstart/data/test.jsonl',
    hint: 'judge the methods; never seen in training or tuning',
  }),
  field({
    name: 'testLimit',
    label: 'Rows of it at most',
    kind: 'number',
    hint: 'empty: all; fewer are quicker, and tell less',
  }),
  field({ name: 'general', label: 'General text', hint: 'optional: tells what was forgotten' }),
  field({ name: 'maxLength', label: 'Tokens in a row at most', kind: 'number' }),
])}
${group('Methods', [methodBoxes()])}
${group('Budget and runs', [
  budget(),
  field({ name: 'steps', label: 'Updates', value: '100', kind: 'number' }),
  field({ name: 'batch', label: 'Rows in a batch', value: '8', kind: 'number' }),
  field({ name: 'rate', label: 'Learning rate', hint: 'default: each method’s own' }),
  field({
    name: 'seeds',
    label: 'Seeds',
    value: '3',
    kind: 'number',
    hint: 'below 2 nothing can be claimed',
  }),
  field({ name: 'parallel', label: 'Runs at once', value: '1', kind: 'number' }),
  select(
    'metric',
    'Decided by',
    METRICS.map((m) => [m, m]),
  ),
])}
${group('Tuning', [
  field({
    name: 'trials',
    label: 'Trials for each method',
    kind: 'number',
    hint: 'empty: default settings only',
  }),
  select('search', 'Search', [
    ['random', 'random: every trial in full'],
    ['halving', 'halving: all for a quarter, half of them for a half, the rest in full'],
  ]),
  field({ name: 'rateLow', label: 'Learning rate from', hint: 'e.g. 1e-4' }),
  field({ name: 'rateHigh', label: 'to', hint: 'e.g. 1e-2' }),
])}
${group('Further fields of the recipe', [
  html`<div class="field wide" data-field="more"><label for="more">As YAML</label><textarea id="more" name="more" rows="4" spellcheck="false" placeholder="schedule: cosine&#10;optimizer: { method: adamw, weightDecay: 0.1 }" aria-describedby="more-error"></textarea><p class="error" id="more-error"></p></div>`,
])}
<p class="error" data-error-of="form" role="alert"></p>
<div class="actions"><button type="submit" class="primary">See what fits</button><span class="busy" role="status"></span></div>
<div id="plan-of-form" aria-live="polite"></div></form></section>`;
}

function group(title: string, fields: readonly Html[]): Html {
  return html`<fieldset class="group"><legend>${title}</legend><div class="fields">${fields}</div></fieldset>`;
}

function field({ name, label, hint, value, kind = 'text' }: Field): Html {
  const mode = kind === 'number' ? 'decimal' : 'text';
  return html`<div class="field" data-field="${name}"><label for="${name}">${label}</label><input id="${name}" name="${name}" inputmode="${mode}" value="${value}" autocomplete="off" spellcheck="false" aria-describedby="${`${name}-hint ${name}-error`}"><small id="${name}-hint">${hint}</small><p class="error" id="${name}-error"></p></div>`;
}

function select(name: string, label: string, options: readonly (readonly [string, string])[]): Html {
  const list = options.map(([value, text]) => html`<option value="${value}">${text}</option>`);
  return html`<div class="field" data-field="${name}"><label for="${name}">${label}</label><select id="${name}" name="${name}" aria-describedby="${name}-error">${list}</select><p class="error" id="${name}-error"></p></div>`;
}

function budget(): Html {
  const kinds = [
    ['', 'no budget'],
    ['trainable', 'trained numbers'],
    ['memory', 'peak memory'],
    ['time', 'seconds of training'],
    ['tokens', 'tokens read'],
  ] as const;
  return html`${select('budgetKind', 'Budget', kinds)}${field({ name: 'budget', label: 'at most', hint: 'memory with its unit: 300MB' })}`;
}

function methodBoxes(): Html {
  const full = { name: FULL, title: 'every weight', whenToChoose: 'What all others are held against.' };
  const box = ({ name, title, whenToChoose }: typeof full) =>
    html`<label class="method" title="${whenToChoose}"><input type="checkbox" name="methods" value="${name}"${name === 'lora' && html` checked`}><span><b>${name}</b><small>${title}</small></span></label>`;
  const others = optimizers.filter((o) => o.name !== 'adamw');
  return html`<div class="field wide" data-field="methods"><div class="pick"><button type="button" class="link" data-pick="all">all adapters</button> <button type="button" class="link" data-pick="none">none</button></div>
<p class="error" id="methods-error"></p>
<div class="boxes" data-boxes="adapters" role="group" aria-label="Adapters">${[full, ...forms].map(box)}</div>
<details><summary>Optimizers, of all weights</summary><div class="boxes" role="group" aria-label="Optimizers">${others.map(box)}</div></details></div>`;
}
