import { clock, element, lasting, make } from './form.js'

const ranks = { critical: 0, warning: 1, info: 2 }

/** Shows the state of the service: status, alerts, process, Redis, and which figures are no longer current. */
export function showState ({ alerts, unusable, redis, unknownSince, process, processes }) {
  const firing = [...alerts].sort((one, other) => ranks[one.severity] - ranks[other.severity])
  const serious = firing.filter(({ severity }) => severity !== 'info')
  const isUnusable = unusable !== null && serious.length === 0
  tell(isUnusable || serious.some(({ severity }) => severity === 'critical') ? 'wrong' : serious.length > 0 ? 'warned' : 'well', isUnusable ? 'Redis is unusable' : serious.length === 0 ? 'Healthy' : serious.length === 1 ? '1 alert' : `${serious.length} alerts`)
  showAlerts(firing, unusable)
  element('process').textContent = processText(process, processes)
  element('redis').textContent = redisText(redis, unusable, unknownSince)
  for (const place of document.querySelectorAll('[data-of=redis]')) markUnknown(place, unknownSince)
}

/** Greys figures of Redis that are no longer current, with their time. */
export function markUnknown (place, since) {
  for (const each of [place, ...place.querySelectorAll(':scope > h2, :scope > figcaption > b')]) {
    if (since === null) delete each.dataset.unknown
    else each.dataset.unknown = `unknown since ${clock(since)}`
  }
}

/** Updates the status only if it changes, because screen readers announce each update. */
export function tell (state, text) {
  element('state').dataset.state = state
  if (element('state').textContent !== text) element('state').textContent = text
  document.title = `${text} · fastify-prism`
}

function processText ({ host, pid, version, commit, startedAt }, processes) {
  const builds = new Set(processes?.map((each) => `${each.version} ${each.commit}`))
  const count = processes === null ? 'number of processes unknown' : processes.length === 1 ? 'the only process' : `one of ${processes.length} processes${builds.size > 1 ? ` with ${builds.size} builds` : ''}`
  return `Process ${pid} on ${host}, version ${version || 'unknown'}${commit === '' ? '' : ` (${commit.slice(0, 7)})`}, up for ${lasting((Date.now() - startedAt) / 1000)}, ${count}`
}

function redisText (redis, unusable, unknownSince) {
  if (redis === null) return unusable === null ? 'Redis: waiting for the first sample' : 'Redis has not been reached since the start of this process'
  const facts = `Redis ${redis.version}, ${redis.nodes > 1 ? `a Cluster of ${redis.nodes}` : redis.role}${redis.silent > 0 ? `, ${redis.silent} unresponsive` : ''}, ${redis.memoryPolicy}`
  return unknownSince === null ? facts : `${facts}; unknown since ${clock(unknownSince)}`
}

function showAlerts (firing, unusable) {
  const cards = firing.map((alert) => alertCard(alert, unusable))
  // An alert fires only after some seconds: the reason is known earlier.
  if (unusable !== null && !firing.some(({ reason }) => reason !== undefined)) cards.unshift(card('critical', ['critical', 'now'], [make('h3', { textContent: unusable.sentence }), make('p', {}, ...withCode(unusable.remedy))]))
  element('alerts').hidden = cards.length === 0
  // Replaced only if they change: otherwise each second would take the focus from a link.
  const list = make('ul', {}, ...cards)
  if (element('alert-list').innerHTML !== list.innerHTML) element('alert-list').replaceChildren(...cards)
}

function alertCard ({ severity, name, meaning, first, value, since, reason, consequences, runbook }, unusable) {
  const { sentence, remedy } = reason === undefined ? {} : unusable ?? reason
  return card(severity, [severity, name, `since ${clock(since)}`], [
    make('h3', { textContent: meaning }),
    ...sentence === undefined ? [] : [make('p', { textContent: sentence })],
    ...value === undefined ? [] : [make('p', { className: 'value', textContent: `Now ${value}.` })],
    make('p', {}, ...withCode(remedy ?? first)),
    ...consequences.length === 0 ? [] : [make('p', { textContent: `Consequences: ${consequences.join(', ')}.` })],
    ...runbook === undefined ? [] : [make('p', {}, make('a', { href: runbook, textContent: `Runbook of ${name}` }))]
  ])
}

function card (severity, facts, parts) {
  const item = make('li', {}, make('p', { className: 'when', textContent: facts.join(' · ') }), ...parts)
  item.dataset.severity = severity
  return item
}

/** Formats text between backticks as code. */
function withCode (text) {
  return text.split('`').map((part, index) => index % 2 === 1 ? make('code', { textContent: part }) : part)
}
