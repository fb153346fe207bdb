// @ts-check
// Runs in the page of a report: switches, sorting, filtering, copying, tooltips. All listeners are on the document, and
// what was chosen is kept here, so that a page whose body is replaced while a study runs stays as its reader left it.

/**
 * @type {{
 *   radios: Record<string, string>,
 *   filters: Record<string, string>,
 *   sort: { column: string, descending: boolean } | undefined,
 *   open: Set<string>,
 *   details: Map<string, boolean>,
 * }}
 */
const chosen = { radios: {}, filters: {}, sort: undefined, open: new Set(), details: new Map() };

/**
 * @param {string} selector
 * @param {ParentNode} [within]
 * @returns {HTMLElement[]}
 */
function all(selector, within = document) {
  return [...within.querySelectorAll(selector)].filter((e) => e instanceof HTMLElement);
}

/**
 * The closest element around an event's target.
 * @param {Event} event
 * @param {string} selector
 * @returns {HTMLElement | SVGElement | null}
 */
function around(event, selector) {
  return event.target instanceof Element ? event.target.closest(selector) : null;
}

// Switches: what a picture costs, and which settings are shown.

/**
 * @param {string} group
 * @param {string} value
 */
function choose(group, value) {
  chosen.radios[group] = value;
  for (const input of all(`[data-group="${group}"] input`))
    if (input instanceof HTMLInputElement) input.checked = input.value === value;
  if (group === 'cost')
    for (const picture of document.querySelectorAll('.tradeoff > svg'))
      picture.toggleAttribute('hidden', picture.getAttribute('data-cost') !== value);
  if (group === 'settings')
    for (const part of all('[data-treatment]:not(tbody)')) part.hidden = part.dataset.treatment !== value;
}

document.addEventListener('change', (event) => {
  const input = event.target;
  const group = around(event, '[data-group]');
  if (group && input instanceof HTMLInputElement) choose(group.dataset.group ?? '', input.value);
  if (around(event, '.filters')) filter();
});

document.addEventListener('input', (event) => {
  if (around(event, '.filters')) filter();
});

// The table.

/** @param {string} name */
function filterInput(name) {
  const field = document.querySelector(`.filters [name="${name}"]`);
  return field instanceof HTMLInputElement || field instanceof HTMLSelectElement ? field : undefined;
}

/** @param {string} name */
function filterValue(name) {
  const field = filterInput(name);
  const isBox = field instanceof HTMLInputElement && field.type === 'checkbox';
  const value = isBox ? (field.checked ? 'yes' : '') : (field?.value ?? '');
  chosen.filters[name] = value;
  return value.trim().toLowerCase();
}

function filter() {
  const [find, treatment, best, whole] = ['find', 'treatment', 'best', 'whole'].map(filterValue);
  let shown = 0;
  for (const body of all('table.results tbody')) {
    const { label = '', treatment: own, best: isBest, failed } = body.dataset;
    const fits =
      label.toLowerCase().includes(find) &&
      (treatment === '' || own === treatment) &&
      (best === '' || isBest === 'true') &&
      (whole === '' || failed === '0');
    body.hidden = !fits;
    shown += Number(fits);
  }
  for (const note of all('#table .none')) note.hidden = shown > 0;
}

/** @param {string} column */
function sortBy(column) {
  const again = chosen.sort?.column === column;
  chosen.sort = { column, descending: again ? !chosen.sort?.descending : false };
  sort();
}

function sort() {
  const table = document.querySelector('table.results');
  if (!table || !chosen.sort) return;
  const { column, descending } = chosen.sort;
  const bodies = all('tbody', table);
  const keys = new Map(bodies.map((b) => [b, JSON.parse(b.dataset.keys ?? '{}')[column]]));
  bodies.sort((a, b) => compare(keys.get(a), keys.get(b), descending));
  table.append(...bodies);
  for (const head of all('th', table)) head.removeAttribute('aria-sort');
  table
    .querySelector(`button[data-sort="${column}"]`)
    ?.closest('th')
    ?.setAttribute('aria-sort', descending ? 'descending' : 'ascending');
}

/**
 * Rows without a value come last either way.
 * @param {string | number | null} a
 * @param {string | number | null} b
 * @param {boolean} descending
 */
function compare(a, b, descending) {
  if (a === null || b === null) return Number(a === null) - Number(b === null);
  const order = typeof a === 'number' && typeof b === 'number' ? a - b : String(a).localeCompare(String(b));
  return descending ? -order : order;
}

/**
 * @param {string} id of the details' row
 * @param {boolean} isOpen
 */
function setOpen(id, isOpen) {
  const row = document.getElementById(id);
  if (!row) return;
  row.hidden = !isOpen;
  document.querySelector(`button[aria-controls="${id}"]`)?.setAttribute('aria-expanded', String(isOpen));
  if (isOpen) chosen.open.add(id);
  else chosen.open.delete(id);
}

// Buttons.

document.addEventListener('click', (event) => {
  const button = around(event, 'button');
  if (!(button instanceof HTMLButtonElement)) {
    // The whole row opens, but text in it can be marked and links followed.
    const opener = around(event, 'tr.row')?.querySelector('button.open');
    if (opener instanceof HTMLButtonElement && getSelection()?.isCollapsed !== false) opener.click();
    return;
  }
  const { sort: column, copy, save } = button.dataset;
  if (column) sortBy(column);
  if (copy) void copyText(button);
  if (save) saveData(save);
  if (button.classList.contains('open'))
    setOpen(button.getAttribute('aria-controls') ?? '', button.getAttribute('aria-expanded') !== 'true');
  if ('themeSwitch' in button.dataset) switchTheme();
});

/** @param {HTMLButtonElement} button */
async function copyText(button) {
  const source = button.dataset.copy === 'next' ? button.nextElementSibling : button.previousElementSibling;
  const text = source?.textContent ?? '';
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = 'Copied';
  } catch {
    // Without the right to the clipboard the text is marked, ready for the keyboard.
    if (source) getSelection()?.selectAllChildren(source);
    button.textContent = 'Marked';
  }
  setTimeout(() => {
    button.textContent = before;
  }, 1500);
}

/** @param {string} name */
function saveData(name) {
  const text = document.getElementById('study-data')?.textContent ?? '';
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([text], { type: 'application/json' }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}

function switchTheme() {
  const root = document.documentElement;
  const isDark = root.dataset.theme
    ? root.dataset.theme === 'dark'
    : matchMedia('(prefers-color-scheme: dark)').matches;
  root.dataset.theme = isDark ? 'light' : 'dark';
  try {
    localStorage.setItem('rankine-theme', root.dataset.theme);
  } catch {
    // Pages from disk may have no storage: the choice then holds for this visit.
  }
}

// Tooltips and what belongs together.

const tip = document.createElement('div');
tip.className = 'tip';
tip.hidden = true;
document.body.append(tip);

/** @param {HTMLElement | SVGElement} mark */
function showTip(mark) {
  const { title = '', tip: text = '' } = mark.dataset;
  const head = document.createElement('b');
  head.textContent = title;
  tip.replaceChildren(head, ...text.split('\n').map(line));
  tip.hidden = false;
  const at = mark.getBoundingClientRect();
  const { width, height } = tip.getBoundingClientRect();
  const left = Math.min(Math.max(8, at.left + at.width / 2 - width / 2), innerWidth - width - 8);
  const above = at.top - height - 10;
  tip.style.left = `${left}px`;
  tip.style.top = `${above > 8 ? above : at.bottom + 10}px`;
}

/** @param {string} text */
function line(text) {
  const row = document.createElement('div');
  row.textContent = text;
  return row;
}

/** @param {string | undefined} method */
function light(method) {
  for (const part of document.querySelectorAll('.lit')) part.classList.remove('lit');
  for (const picture of document.querySelectorAll('.tradeoff'))
    picture.classList.toggle('lighting', method !== undefined);
  if (method === undefined) return;
  for (const part of document.querySelectorAll(`[data-method="${CSS.escape(method)}"]`))
    part.classList.add('lit');
}

for (const kind of ['pointerover', 'focusin'])
  document.addEventListener(kind, (event) => {
    const mark = around(event, '[data-tip]');
    if (mark) showTip(mark);
    else tip.hidden = true;
    light(around(event, '[data-method]')?.dataset.method);
  });
document.addEventListener('keydown', (event) => {
  if (event.key === 'Escape') tip.hidden = true;
});
document.addEventListener(
  'scroll',
  () => {
    tip.hidden = true;
  },
  { capture: true, passive: true },
);

/** @type {HTMLDetailsElement[]} */
let opened = [];
addEventListener('beforeprint', () => {
  opened = [];
  for (const details of document.querySelectorAll('details.all-pairs, #plan details'))
    if (details instanceof HTMLDetailsElement && !details.open) {
      details.open = true;
      opened.push(details);
    }
});
addEventListener('afterprint', () => {
  for (const details of opened) details.open = false;
});

document.addEventListener(
  'toggle',
  ({ target }) => {
    if (target instanceof HTMLDetailsElement && target.id) chosen.details.set(target.id, target.open);
  },
  { capture: true },
);

/** Puts back what the reader chose. */
function restore() {
  for (const [id, isOpen] of chosen.details) document.getElementById(id)?.toggleAttribute('open', isOpen);
  for (const [name, value] of Object.entries(chosen.filters)) {
    const field = filterInput(name);
    if (field instanceof HTMLInputElement && field.type === 'checkbox') field.checked = value === 'yes';
    else if (field) field.value = value;
  }
  for (const [group, value] of Object.entries(chosen.radios)) choose(group, value);
  for (const id of [...chosen.open]) setOpen(id, true);
  sort();
  filter();
  for (const link of all('header.top nav a'))
    link.hidden = document.querySelector(link.getAttribute('href') ?? '#') === null;
}

document.addEventListener('report:replaced', restore);
restore();
