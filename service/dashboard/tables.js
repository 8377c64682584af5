import { bytes, clock, element, fillTable, make, milliseconds, number, percent } from './form.js'

const lifetimes = ['a minute', '5 minutes', '15 minutes', 'an hour', 'later', 'never']
element('legend').append(...lifetimes.map((name, index) => make('span', { className: `l${index}`, textContent: name })))

const row = (texts, numbersFrom) => make('tr', {}, ...texts.map((textContent, index) => make('td', { textContent, className: index < numbersFrom ? '' : 'number' })))
const micros = (seconds) => seconds == null ? '–' : `${number(1)(seconds * 1e6)} µs`
const slowLogReasons = {
  denied: 'The ACL denies SLOWLOG to the user of the service: grant +slowlog to see slow commands.',
  unsupported: 'This server has no slow log.'
}

/** Shows routes, namespaces, rejected clients, Redis commands and the slow log. */
export function showTables ({ routes, rejected, redis }) {
  fillTable('routes', routes.map(routeRow), 'No requests in the last minute.')
  fillTable('rejected', rejected.map(({ who, policy, count }) => row([who, policy, number(0)(count)], 2)), 'No rejected requests.')
  const { namespaces, commands, slowLog } = redis ?? { namespaces: [], commands: [], slowLog: [] }
  const none = (text) => redis === null ? 'Redis has not been reached since the start of this process.' : text
  showSpaces(namespaces, none('No keys.'))
  fillTable('commands', commands.map(({ command, calls, p50Seconds, p99Seconds }) => row([command, number(0)(calls), micros(p50Seconds), micros(p99Seconds)], 1)), none('This server keeps no command statistics.'))
  const isLog = Array.isArray(slowLog)
  fillTable('slow', isLog ? slowLog.map(({ at, command, namespace, microseconds }) => row([clock(at), command, namespace ?? '–', milliseconds(microseconds / 1000)], 3)) : [], none(isLog ? 'No slow commands.' : slowLogReasons[slowLog]))
}

function routeRow ({ method, route, requestsASecond, failedASecond, p50Ms, p99Ms, hitShare }) {
  const made = row([number(2)(requestsASecond), number(2)(failedASecond), milliseconds(p50Ms), milliseconds(p99Ms), hitShare === null ? 'not cached' : percent(hitShare)], 0)
  if (failedASecond > 0) made.cells[1].classList.add('failed')
  made.prepend(make('th', { scope: 'row', textContent: `${method} ${route === 'none' ? '(no route)' : route}` }))
  return made
}

function showSpaces (namespaces, nothing) {
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
    make('td', {}, lifeOf(each.lifetimes)))), nothing)
}

function lifeOf (counts) {
  const all = counts.reduce((sum, count) => sum + count, 0)
  const life = make('span', { className: 'life' })
  life.setAttribute('role', 'img')
  life.setAttribute('aria-label', counts.map((count, index) => count > 0 ? `${lifetimes[index]}: ${percent(count / all)}` : '').filter((text) => text !== '').join(', ') || 'not sampled')
  counts.forEach((count, index) => {
    const part = make('i', { className: `l${index}` })
    part.style.width = `${count / Math.max(1, all) * 100}%`
    if (count > 0) life.append(part)
  })
  return life
}
