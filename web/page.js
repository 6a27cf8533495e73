'use strict';
// The page: each section asks /api/… and builds its tables; nothing is put into the document but as text.

const main = document.getElementById('main');
const csrf = document.querySelector('meta[name=csrf]').content;

function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

async function ask(method, path, body) {
  const headers = {'x-gridiron-csrf': csrf};
  if (body) headers['content-type'] = 'application/json';
  const answer = await fetch(path, {method, headers, body: body && JSON.stringify(body)});
  if (answer.status === 401) {
    location.href = '/sign-in';
    throw new Error('signed out');
  }
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.error || answer.statusText);
  return told;
}

function table(columns, rows, whenEmpty) {
  if (!rows.length) return make('div', {class: 'scroll'}, make('div', {class: 'empty'}, whenEmpty));
  const head = make('tr', {}, ...columns.map((c) => make('th', {class: c.kind}, c.title)));
  const body = rows.map((row) => make('tr', {}, ...columns.map((c) => make('td', {class: c.kind}, c.show(row) ?? ''))));
  return make('div', {class: 'scroll'}, make('table', {}, make('thead', {}, head), make('tbody', {}, ...body)));
}

function ago(seconds) {
  if (!seconds) return '';
  const passed = Math.max(0, Date.now() / 1000 - seconds);
  if (passed < 90) return `${Math.round(passed)} s`;
  if (passed < 5400) return `${Math.round(passed / 60)} min`;
  if (passed < 172800) return `${Math.round(passed / 3600)} h`;
  return `${Math.round(passed / 86400)} d`;
}

function span(seconds) {
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 120) return `${seconds.toFixed(1)} s`;
  if (seconds < 7200) return `${(seconds / 60).toFixed(1)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

const moods = {ready: 'good', deployed: 'good', starting: 'warn', ephemeral: 'warn', draining: 'warn', initializing: 'warn', stopped: 'soft'};
const pill = (word) => make('span', {class: `pill ${moods[word] || 'soft'}`}, word);
const mono = (text) => make('span', {class: 'mono'}, text);
const logsOf = (name, id) => make('a', {href: `#logs?${name}=${encodeURIComponent(id)}`}, 'logs');
const address = (url) => (url ? make('a', {href: url, target: '_blank', rel: 'noopener noreferrer'}, url) : '');

const phaseColours = ['#64748b', '#0ea5e9', '#14b8a6', '#84cc16', '#eab308', '#f97316', '#ec4899', '#8b5cf6'];
function phases(list) {
  const all = list.reduce((sum, p) => sum + p.seconds, 0);
  if (!all) return '';
  const bar = make('div', {class: 'phases', role: 'img', 'aria-label': list.map((p) => `${p.name} ${span(p.seconds)}`).join(', ')});
  list.forEach((p, i) => {
    const part = make('i', {title: `${p.name}: ${span(p.seconds)}`});
    part.style.flexGrow = p.seconds;
    part.style.background = phaseColours[i % phaseColours.length];
    bar.append(part);
  });
  return make('div', {title: `${span(all)} in all`}, bar);
}

const mebi = (zygotes) => Math.round(zygotes.reduce((sum, z) => sum + z.memory_bytes + z.parked_bytes, 0) / 2 ** 20);

const tile = (value, name) => make('div', {class: 'tile'}, make('b', {}, String(value)), make('span', {}, name));

const sections = {
  async overview() {
    const s = await ask('GET', '/api/status');
    const count = (state) => s.containers.filter((c) => c.state === state).length;
    const sum = (field) => s.functions.reduce((total, f) => total + f[field], 0);
    return [
      make('h1', {}, `Workspace ${s.workspace}`),
      make('div', {class: 'tiles'}, tile(s.apps, 'live apps'), tile(s.functions.length, 'functions'), tile(count('ready'), 'ready containers'),
        tile(count('starting'), 'starting'), tile(sum('running'), 'inputs running'), tile(sum('queued'), 'inputs waiting')),
      make('h2', {}, 'Machines'),
      table([
        {title: 'Machine', show: (w) => w.host}, {title: 'CPUs', kind: 'number', show: (w) => w.milli_cpu / 1000},
        {title: 'Memory', kind: 'number', show: (w) => `${(w.memory_mb / 1024).toFixed(1)} GiB`},
        {title: 'GPUs', show: (w) => w.gpus.join(', ') || 'none'}, {title: 'Connected', show: (w) => ago(w.connected_at)},
        {title: 'Zygotes', show: (w) => w.zygotes.length === 0 ? 'none'
          : `${w.zygotes.length}, ${mebi(w.zygotes)} of ${Math.round(w.zygote_limit_bytes / 2 ** 20)} MiB`},
      ], s.workers, 'No machine is connected.'),
      make('h2', {}, 'Connect a client'),
      make('div', {class: 'card'}, make('code', {}, `MODAL_SERVER_URL=${s.url} modal setup`)),
    ];
  },

  async apps() {
    const {apps} = await ask('GET', '/api/apps');
    return [make('h1', {}, 'Apps'), table([
      {title: 'App', show: (a) => a.name || a.description || a.id}, {title: 'State', show: (a) => pill(a.state)},
      {title: 'Environment', show: (a) => a.environment}, {title: 'Version', kind: 'number', show: (a) => a.version || ''},
      {title: 'Functions', show: (a) => a.functions.join(', '), kind: 'wide'}, {title: 'Since', show: (a) => ago(a.created_at)},
      {title: '', show: (a) => logsOf('app', a.id)},
    ], apps, 'Nothing is deployed or running.')];
  },

  async functions() {
    const s = await ask('GET', '/api/status');
    return [make('h1', {}, 'Functions'), table([
      {title: 'App', show: (f) => f.app}, {title: 'Function', show: (f) => f.function},
      {title: 'Waiting', kind: 'number', show: (f) => f.queued}, {title: 'Running', kind: 'number', show: (f) => f.running},
      {title: 'Ready', kind: 'number', show: (f) => f.containers}, {title: 'Starting', kind: 'number', show: (f) => f.starting},
      {title: 'Address', show: (f) => address(f.url)}, {title: '', show: (f) => logsOf('function', f.id)},
    ], s.functions, 'No functions yet.')];
  },

  async containers() {
    const s = await ask('GET', '/api/status');
    return [make('h1', {}, 'Live containers'), table([
      {title: 'Container', show: (c) => mono(c.id)}, {title: 'App', show: (c) => c.app}, {title: 'Function', show: (c) => c.function},
      {title: 'State', show: (c) => pill(c.state)}, {title: 'For', show: (c) => ago(c.since)},
      {title: 'Inputs', kind: 'number', show: (c) => c.inputs}, {title: 'Its cold start', show: (c) => phases(c.phases)},
      {title: '', show: (c) => logsOf('container', c.id)},
    ], s.containers, 'No containers: nothing is in use, and nothing costs anything.')];
  },

  async usage() {
    const u = await ask('GET', `/api/usage?since=${Math.floor(Date.now() / 1000 - 86400)}`);
    return [make('h1', {}, 'Usage of the last 24 hours'), table([
      {title: 'App', show: (r) => r.app}, {title: 'Function', show: (r) => r.function},
      {title: 'Containers', kind: 'number', show: (r) => r.containers}, {title: 'Container time', kind: 'number', show: (r) => span(r.container_seconds)},
      {title: 'Inputs', kind: 'number', show: (r) => r.inputs}, {title: 'Input time', kind: 'number', show: (r) => span(r.input_seconds)},
      {title: 'Failed', kind: 'number', show: (r) => r.failed_inputs}, {title: 'CPU', kind: 'number', show: (r) => span(r.cpu_seconds)},
      {title: 'Memory', kind: 'number', show: (r) => `${r.memory_gib_seconds.toFixed(1)} GiB·s`},
    ], u.totals, 'Nothing ran.')];
  },

  async secrets() {
    const {secrets} = await ask('GET', '/api/secrets');
    const remove = (s) => make('button', {class: 'plain', onclick: async () => {
      if (!confirm(`Delete secret ${s.name}? Functions that use it cannot start any more.`)) return;
      await ask('DELETE', `/api/secrets/${encodeURIComponent(s.name)}?environment=${encodeURIComponent(s.environment)}`);
      show();
    }}, 'Delete');
    return [make('h1', {}, 'Secrets'), table([
      {title: 'Name', show: (s) => s.name}, {title: 'Environment', show: (s) => s.environment},
      {title: 'Keys', kind: 'wide', show: (s) => mono(s.keys.join(', '))}, {title: 'Made', show: (s) => ago(s.created_at)},
      {title: '', show: remove},
    ], secrets, 'No secrets yet.'), make('h2', {}, 'New secret'), secretForm(),
    make('p', {class: 'soft'}, 'Values can be written here, never read: only the functions that name the secret get them.')];
  },

  async tokens() {
    const {tokens} = await ask('GET', '/api/proxy-tokens');
    const revoke = (t) => make('button', {class: 'plain', onclick: async () => {
      if (!confirm(`Revoke ${t.name || t.token_id}? Who uses it is refused from then on.`)) return;
      await ask('DELETE', `/api/proxy-tokens/${encodeURIComponent(t.token_id)}`);
      show();
    }}, 'Revoke');
    return [make('h1', {}, 'Proxy tokens'), table([
      {title: 'Name', show: (t) => t.name}, {title: 'Token', show: (t) => mono(t.token_id)}, {title: 'State', show: (t) => t.state},
      {title: 'Made', show: (t) => ago(t.created_at)}, {title: '', show: revoke},
    ], tokens, 'No proxy tokens yet.'), make('h2', {}, 'New token'), tokenForm(),
    make('p', {class: 'soft'}, 'For web functions with requires_proxy_auth: their callers send the two as the headers Modal-Key and Modal-Secret.')];
  },

  async logs(query) {
    const box = make('div', {class: 'logs', tabindex: '0', role: 'log'});
    const what = [...query].map(([name, id]) => `${name} ${id}`).join(', ') || 'all apps';
    let after = 0;
    const more = async () => {
      const low = box.scrollTop + box.clientHeight >= box.scrollHeight - 8;
      query.set('after', after);
      const {lines} = await ask('GET', `/api/logs?${query}`);
      for (const line of lines) {
        after = Math.max(after, line.sequence);
        const time = new Date(line.at * 1000).toISOString().slice(11, 23);
        box.append(make('div', {class: {stderr: 'err', system: 'sys'}[line.source]}, make('time', {}, time), line.text));
      }
      if (!after && !box.childNodes.length) box.append(make('div', {class: 'sys'}, 'Nothing printed yet.'));
      if (low) box.scrollTop = box.scrollHeight;
    };
    await more();
    sections.logs.more = more;
    return [make('h1', {}, 'Logs'), make('p', {class: 'soft'}, `Of ${what}; new lines appear by themselves.`), box];
  },
};

function tokenForm() {
  const said = make('p', {class: 'said', role: 'alert'});
  const submit = async (event) => {
    event.preventDefault();
    const field = event.target.elements.name;
    try {
      const made = await ask('POST', '/api/proxy-tokens', {name: field.value});
      field.value = '';
      said.replaceChildren('Shown only now: ', mono(`Modal-Key: ${made.token_id}`), ' ', mono(`Modal-Secret: ${made.token_secret}`));
    } catch (problem) {
      said.replaceChildren(problem.message);
    }
  };
  return make('form', {class: 'card', onsubmit: submit},
    make('div', {class: 'row'}, make('label', {}, 'Name', make('input', {name: 'name', placeholder: 'billing', autocomplete: 'off'})),
      make('button', {class: 'first'}, 'Create')), said);
}

function secretForm() {
  const pairs = make('div', {});
  const addPair = () => {
    const pair = make('div', {class: 'pair'}, make('label', {}, 'Key', make('input', {name: 'key', class: 'mono', required: true, autocomplete: 'off'})),
      make('label', {}, 'Value', make('input', {name: 'value', type: 'password', class: 'mono', autocomplete: 'new-password'})),
      make('label', {}, make('button', {type: 'button', class: 'plain', onclick: () => pairs.childNodes.length > 1 && pair.remove()}, 'Remove')));
    pairs.append(pair);
  };
  addPair();
  const said = make('p', {class: 'said bad', role: 'alert'});
  const submit = async (event) => {
    event.preventDefault();
    const form = event.target, values = {};
    for (const pair of pairs.childNodes) values[pair.querySelector('[name=key]').value] = pair.querySelector('[name=value]').value;
    try {
      await ask('POST', '/api/secrets', {name: form.elements.name.value, environment: form.elements.environment.value, values});
      show();
    } catch (problem) {
      said.textContent = problem.message;
    }
  };
  return make('form', {class: 'card', onsubmit: submit},
    make('div', {class: 'row'}, make('label', {}, 'Name', make('input', {name: 'name', required: true, placeholder: 'webhook-secret', autocomplete: 'off'})),
      make('label', {}, 'Environment', make('input', {name: 'environment', value: 'main', required: true}))),
    pairs, said, make('div', {class: 'row'}, make('button', {type: 'button', onclick: addPair}, 'Another key'), make('button', {class: 'first'}, 'Create')));
}

let shown = 0;
async function show() {
  const turn = ++shown;
  const [name, text] = (location.hash.slice(1) || 'overview').split('?');
  const section = sections[name] ? name : 'overview';
  for (const link of document.querySelectorAll('.side a')) {
    if (link.getAttribute('href') === `#${section}`) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  try {
    const parts = await sections[section](new URLSearchParams(text));
    if (turn === shown) main.replaceChildren(...parts);
  } catch (problem) {
    if (turn === shown) main.replaceChildren(make('h1', {}, 'The grid does not answer'), make('p', {class: 'bad'}, problem.message));
  }
}

addEventListener('hashchange', show);
setInterval(() => {
  if (document.hidden) return;
  const section = location.hash.slice(1).split('?')[0] || 'overview';
  if (section === 'logs') sections.logs.more?.().catch(() => {});
  else if (section !== 'secrets' && section !== 'tokens') show();
}, 2000);
show();
