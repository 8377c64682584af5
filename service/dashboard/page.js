/* global EventSource */
import { showTables } from './cache.js'
import { addPoint, showHistory } from './charts.js'
import { bytes, element, fillTable, lasting, make, milliseconds, number, percent } from './form.js'

const lifetimes = ['a minute', '5 minutes', '15 minutes', 'an hour', 'later', 'never']
element('legend').append(...lifetimes.map((name, index) => make('span', { className: `l${index}`, textContent: name })))

/** What became of requests, as a prism splits light; `plain` was no route of the cache's. */
const parts = [['hit', 'from the cache'], ['stale', 'stale, while made anew'], ['miss', 'made by their handler'], ['bypass', 'past the cache'], ['plain', 'not cached'], ['refused', 'refused']]

function showBeam ({ requests, refused, outcomes, p99Ms, hitShare }) {
  const rates = { ...outcomes, plain: Math.max(0, outcomes.none - refused), refused }
  const shown = parts.map(([name, text]) => ({ name, text, share: requests > 0 ? rates[name] / requests : 0 })).filter(({ share }) => share > 0.0005)
  element('beam').replaceChildren(...shown.map(({ name, share }) => {
    const part = make('i', { className: name })
    part.style.flexGrow = share
    return part
  }))
  element('beam').setAttribute('aria-label', shown.map(({ text, share }) => `${percent(share)} ${text}`).join(', ') || 'No requests in the last minute')
  element('split').replaceChildren(...shown.map(({ name, text, share }) => make('li', { className: name }, make('b', { textContent: percent(share) }), ` ${text}`)))
  element('summary').replaceChildren(...requests === 0
    ? ['Nobody asked for anything in the last minute.']
    : [make('b', { textContent: number(1)(requests) }), ` ${requests === 1 ? 'request' : 'requests'} a second`, ...hitShare === null ? [] : [', ', make('b', { textContent: percent(hitShare) }), ' of the cached ones without their handler'], ', 99 of 100 within ', make('b', { textContent: milliseconds(p99Ms) }), '.'])
}

function showTiles (point, redis) {
  const share = point.memoryMax ? point.memoryUsed / point.memoryMax : null
  const limit = share === null ? 'no limit' : `of ${bytes(point.memoryMax)}${redis?.nodes > 1 ? `, the fullest of ${redis.nodes}` : ''}`
  const tiles = [
    ['Hit rate', percent(point.hitShare), 'of cached routes'],
    ['Requests', number(1)(point.requests), 'a second'],
    ['Answered within', milliseconds(point.p99Ms), '99 of 100'],
    ['Round trip within', milliseconds(point.roundTripP99Ms), '99 of 100'],
    ['Redis memory', share === null ? bytes(point.memoryUsed) : percent(share), limit, share, toneOf(point.memoryMax ? point.memoryOther / point.memoryMax : null)],
    ['Evictions', number(1)(point.evictions), 'a second', undefined, point.evictions > 0 ? 'warned' : undefined],
    ['Connections', number(0)(point.clients), `to Redis, ${point.connections} of ours`],
    ['Live', number(0)(point.live), 'browsers connected']
  ]
  element('tiles').replaceChildren(...tiles.map(([name, value, unit, meter, tone]) => {
    const tile = make('dl', { className: 'tile' }, make('dt', { textContent: name }), make('dd', {}, value, make('small', { textContent: unit }), ...typeof meter === 'number' ? [gauge(meter)] : []))
    if (tone !== undefined) tile.dataset.state = tone
    return tile
  }))
}

/** As the alerts judge memory: by what is not the cache's own. */
function toneOf (share) {
  return share > 0.9 ? 'wrong' : share > 0.8 ? 'warned' : undefined
}

function gauge (share) {
  const bar = make('i')
  bar.style.width = `${Math.min(1, share) * 100}%`
  return make('span', { className: 'gauge', role: 'meter', ariaLabel: 'Share of Redis memory in use', ariaValueMin: '0', ariaValueMax: '100', ariaValueNow: String(Math.round(share * 100)) }, bar)
}

const ranks = { critical: 0, warning: 1, info: 2 }

function showState ({ alerts, unusable, namespaces, redis }) {
  const firing = [...alerts].sort((one, other) => ranks[one.severity] - ranks[other.severity])
  const serious = firing.filter(({ severity }) => severity !== 'info')
  const isUnusable = unusable !== null && serious.length === 0
  tell(isUnusable || serious.some(({ severity }) => severity === 'critical') ? 'wrong' : serious.length > 0 ? 'warned' : 'well', isUnusable ? 'Redis cannot be used' : serious.length === 0 ? 'All is well' : serious.length === 1 ? '1 alert' : `${serious.length} alerts`)
  const cards = firing.map((alert) => alertCard(alert, unusable))
  // An alert waits some seconds before it fires: the reason is known before.
  if (unusable !== null && !firing.some(({ reason }) => reason !== undefined)) cards.unshift(card('critical', 'critical, now', [make('h3', { textContent: unusable.sentence }), make('p', {}, ...withCode(unusable.remedy))]))
  element('alerts').hidden = cards.length === 0
  element('alert-list').replaceChildren(...cards)
  element('about').textContent = redis === null ? unusable?.sentence ?? 'Redis was not reached yet' : `Redis ${redis.version}, ${redis.nodes > 1 ? `a Cluster of ${redis.nodes}` : redis.role}${redis.silent > 0 ? `, ${redis.silent} silent` : ''}, ${redis.memoryPolicy}`
  showSpaces(namespaces)
}

function alertCard ({ severity, name, meaning, first, since, reason, consequences }, unusable) {
  const { sentence, remedy } = reason === undefined ? {} : unusable ?? reason
  return card(severity, `${severity}, ${name}, for ${lasting((Date.now() - since) / 1000)}`, [
    make('h3', { textContent: meaning }),
    ...sentence === undefined ? [] : [make('p', { textContent: sentence })],
    make('p', {}, ...withCode(remedy ?? first)),
    ...consequences.length === 0 ? [] : [make('p', { textContent: `Follows from it: ${consequences.join(', ')}.` })]
  ])
}

function card (severity, when, parts) {
  const item = make('li', {}, make('p', { className: 'when', textContent: when }), ...parts)
  item.dataset.severity = severity
  return item
}

/** A screen reader hears it when it changes, and not with each reading. */
function tell (state, text) {
  element('state').dataset.state = state
  if (element('state').textContent !== text) element('state').textContent = text
  document.title = `${text} · fastify-prism`
}

/** What stands between backticks is to be typed. */
function withCode (text) {
  return text.split('`').map((part, index) => index % 2 === 1 ? make('code', { textContent: part }) : part)
}

function showSpaces (namespaces) {
  const [mostKeys, mostBytes] = ['keys', 'bytes'].map((field) => Math.max(1, ...namespaces.map((each) => each[field])))
  const bar = (share) => {
    const made = make('span', { className: 'bar' })
    made.style.width = `${share * 100}%`
    return made
  }
  fillTable('spaces', namespaces.filter(({ keys }) => keys > 0).map((each) => make('tr', {},
    make('th', { scope: 'row', textContent: each.namespace }),
    make('td', {}, number(0)(each.keys), bar(each.keys / mostKeys)),
    make('td', { className: 'bytes' }, bytes(each.bytes || null), bar(each.bytes / mostBytes)),
    make('td', {}, lifeOf(each.lifetimes)))), 'Redis holds no key yet.')
}

function lifeOf (counts) {
  const all = counts.reduce((sum, count) => sum + count, 0)
  const life = make('span', { className: 'life' })
  life.setAttribute('role', 'img')
  life.setAttribute('aria-label', counts.map((count, index) => count > 0 ? `${lifetimes[index]}: ${percent(count / all)}` : '').filter((text) => text !== '').join(', ') || 'not looked at yet')
  counts.forEach((count, index) => {
    const part = make('i', { className: `l${index}` })
    part.style.width = `${count / Math.max(1, all) * 100}%`
    if (count > 0) life.append(part)
  })
  return life
}

const feed = new EventSource('/ops/feed')
feed.addEventListener('history', ({ data }) => showHistory(JSON.parse(data)))
feed.addEventListener('now', ({ data }) => {
  const { point, minute, ...now } = JSON.parse(data)
  addPoint(point)
  if (minute !== null) {
    showBeam(minute)
    showTiles(minute, now.redis)
  }
  showState(now)
  showTables(now)
})
feed.addEventListener('error', () => feed.readyState === EventSource.CLOSED ? tell('wrong', 'Your half hour is over: reload') : tell('waiting', 'Connecting'))
