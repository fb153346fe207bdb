// @ts-check
// Runs in the studio's pages, after the report's script: puts parts of the page anew while runs go on, asks for what
// buttons say, and shows the form's errors at their fields.

const studio = document.getElementById('studio');
const token = studio?.dataset.token ?? '';

/**
 * @param {string} address
 * @param {unknown} [content]
 * @returns {Promise<{ ok: boolean, content: any }>}
 */
async function post(address, content = {}) {
  try {
    const response = await fetch(address, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-rankine-token': token },
      body: JSON.stringify(content),
    });
    const text = await response.text();
    const isJson = response.headers.get('content-type')?.startsWith('application/json');
    return { ok: response.ok, content: isJson ? JSON.parse(text) : { message: text } };
  } catch {
    return { ok: false, content: { message: 'The studio does not answer: is it still running?' } };
  }
}

// Parts of the page that are put anew.

/** @type {Map<string, string>} What each part was last put to: an equal one is left alone. */
const shown = new Map();

/** @param {HTMLElement} part */
async function renew(part) {
  const address = part.dataset.part ?? '';
  const response = await fetch(address).catch(() => undefined);
  if (!response?.ok) return;
  const markup = await response.text();
  if (shown.get(address) === markup) return;
  shown.set(address, markup);
  const focus = focusIn(part);
  part.innerHTML = markup;
  document.dispatchEvent(new Event('report:replaced'));
  focus?.();
}

/**
 * Gives the focus back after the part was put anew; undefined where it was elsewhere.
 * @param {HTMLElement} part
 */
function focusIn(part) {
  const active = document.activeElement;
  if (!(active instanceof HTMLElement) || !part.contains(active)) return undefined;
  const selector = ['name', 'data-sort', 'aria-controls', 'data-post']
    .filter((name) => active.hasAttribute(name))
    .map((name) => `[${name}="${CSS.escape(active.getAttribute(name) ?? '')}"]`)[0];
  if (!selector) return undefined;
  const range = active instanceof HTMLInputElement ? active.selectionStart : null;
  return () => {
    const next = part.querySelector(selector);
    if (!(next instanceof HTMLElement)) return;
    next.focus({ preventScroll: true });
    if (next instanceof HTMLInputElement && range !== null) next.setSelectionRange(range, range);
  };
}

const address = studio?.dataset.events;
if (address) {
  const events = new EventSource(address);
  for (const part of document.querySelectorAll('[data-part]'))
    if (part instanceof HTMLElement) events.addEventListener(part.dataset.on ?? '', () => void renew(part));
  events.addEventListener('open', () => document.body.classList.remove('offline'));
  events.addEventListener('error', () => document.body.classList.add('offline'));
}

// Buttons.

document.addEventListener('click', (event) => {
  const button = event.target instanceof Element ? event.target.closest('button') : null;
  if (!button) return;
  if (button.dataset.post) void press(button, button.dataset.post);
  if (button.dataset.pick) pick(button.dataset.pick === 'all');
});

/**
 * @param {HTMLButtonElement} button
 * @param {string} target
 */
async function press(button, target) {
  button.disabled = true;
  const { ok, content } = await post(target);
  const message = document.querySelector('.post-error');
  if (message) message.textContent = ok ? '' : content.message;
  // A study takes a while to save and stop: the button waits for the page to be put anew.
  if (!ok) button.disabled = false;
}

/** @param {boolean} all */
function pick(all) {
  for (const box of document.querySelectorAll('[name="methods"]'))
    if (box instanceof HTMLInputElement) box.checked = all && box.closest('[data-boxes="adapters"]') !== null;
  clearPlan();
}

// The form.

const form = document.getElementById('study-form');

/** What is chosen, as the server takes it: texts, and the list of methods. */
function formValues() {
  if (!(form instanceof HTMLFormElement)) return {};
  const data = new FormData(form);
  const texts = [...data].filter(([name, value]) => name !== 'methods' && typeof value === 'string');
  return {
    ...Object.fromEntries(texts.map(([n, v]) => [n, String(v).trim()])),
    methods: data.getAll('methods'),
  };
}

/** @param {Record<string, string>} errors */
function showErrors(errors) {
  for (const field of document.querySelectorAll('[data-field]')) {
    if (!(field instanceof HTMLElement)) continue;
    const message = errors[field.dataset.field ?? ''] ?? '';
    const place = field.querySelector('.error');
    if (place) place.textContent = message;
    for (const input of field.querySelectorAll('input:not([type=checkbox]), select, textarea'))
      input.toggleAttribute('aria-invalid', message !== '');
  }
  const known = new Set(
    [...document.querySelectorAll('[data-field]')].map((f) => f instanceof HTMLElement && f.dataset.field),
  );
  const others = Object.entries(errors).filter(([name]) => !known.has(name));
  const place = document.querySelector('[data-error-of="form"]');
  if (place) place.textContent = others.map(([, message]) => message).join(' ');
  const first = document.querySelector('[aria-invalid], .error:not(:empty)');
  if (first instanceof HTMLElement) {
    first.focus({ preventScroll: true });
    first.scrollIntoView({ block: 'center' });
  }
}

/** @param {string} text */
function busy(text) {
  for (const place of document.querySelectorAll('.busy')) place.textContent = text;
  for (const button of document.querySelectorAll('#study-form .actions button'))
    button.toggleAttribute('disabled', text !== '');
}

function clearPlan() {
  document.getElementById('plan-of-form')?.replaceChildren();
}

form?.addEventListener('input', clearPlan);
form?.addEventListener('submit', async (event) => {
  event.preventDefault();
  clearPlan();
  busy('Planning: what fits the budget …');
  const { ok, content } = await post('/check', formValues());
  busy('');
  showErrors(content.errors ?? (ok ? {} : { form: content.message }));
  if (ok) showPlan(content.plan);
});

/**
 * @typedef {{ label: string, fits: boolean, reason?: string, chosen: Record<string, unknown>, trainable?: number, predictedMemory?: number }} PlanRow
 * @param {PlanRow[]} rows
 */
function showPlan(rows) {
  const place = document.getElementById('plan-of-form');
  if (!place) return;
  const fitting = rows.filter((r) => r.fits).length;
  const table = document.createElement('table');
  table.createTHead().append(tableRow('th', ['Method', 'Chosen', 'Trained', 'Predicted peak', '']));
  table.createTBody().append(
    ...rows.map((r) =>
      tableRow('td', [
        r.label,
        Object.entries(r.chosen)
          .map(([k, v]) => `${k.replace(/^adapter\./, '')} ${JSON.stringify(v)}`)
          .join(', '),
        r.trainable?.toLocaleString('en') ?? '',
        r.predictedMemory === undefined ? '' : `${Math.round(r.predictedMemory / 1e6)} MB`,
        r.fits ? 'fits' : (r.reason ?? 'does not fit'),
      ]),
    ),
  );
  const scroll = document.createElement('div');
  scroll.className = 'scroll';
  scroll.append(table);
  const start = document.createElement('button');
  start.type = 'button';
  start.className = 'primary';
  start.textContent = `Save and start ${fitting} ${fitting === 1 ? 'method' : 'methods'}`;
  start.addEventListener('click', () => void create());
  const actions = document.createElement('div');
  actions.className = 'actions';
  actions.append(start);
  place.replaceChildren(scroll, actions);
  start.focus();
}

/**
 * @param {'th' | 'td'} kind
 * @param {string[]} texts
 */
function tableRow(kind, texts) {
  const row = document.createElement('tr');
  for (const text of texts) {
    const cell = document.createElement(kind);
    cell.textContent = text;
    row.append(cell);
  }
  return row;
}

async function create() {
  busy('Starting …');
  const { ok, content } = await post('/studies', formValues());
  busy('');
  if (ok) location.assign(content.address);
  else {
    clearPlan();
    showErrors(content.errors ?? { form: content.message });
  }
}
