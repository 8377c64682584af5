/* global uPlot, getComputedStyle, EventSource, matchMedia, ResizeObserver */
const Plot = uPlot
const element = (id) => document.getElementById(id)
const make = (tag, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), properties)
  made.append(...children)
  return made
}

const number = (digits) => (value) => value == null ? '–' : value.toLocaleString('en', { maximumFractionDigits: value !== 0 && Math.abs(value) < 10 ? digits : 0 })
const percent = (share) => share == null ? '–' : `${(share * 100).toFixed(share > 0.995 || share === 0 ? 0 : 1)} %`
const bytes = (value) => {
  if (value == null) return '–'
  const power = Math.min(3, Math.floor(Math.log2(Math.max(1, value)) / 10))
  return `${(value / 1024 ** power).toFixed(power === 0 ? 0 : 1)} ${['B', 'KB', 'MB', 'GB'][power]}`
}
const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString('en-GB', span() < 600 ? {} : { hour: '2-digit', minute: '2-digit' })
const milliseconds = (value) => value == null ? '–' : `${number(2)(value)} ms`

const charts = [
  { title: 'Hit rate', format: percent, range: [0, 1], lines: [['hits', 'hitShare']] },
  { title: 'Requests a second', format: number(1), lines: [['all', 'requests'], ['refused', 'refused'], ['failed', 'failed']] },
  { title: 'Answered within', format: milliseconds, lines: [['half', 'p50Ms'], ['99 %', 'p99Ms']] },
  { title: 'Redis round trip', format: milliseconds, lines: [['half', 'roundTripP50Ms'], ['99 %', 'roundTripP99Ms']] },
  { title: 'Redis memory', format: bytes, lines: [['used', 'memoryUsed'], ['limit', 'memoryMax']] },
  { title: 'Evictions a second', format: number(1), lines: [['evicted', 'evictions']] },
  { title: 'Redis commands a second', format: number(1), lines: [['commands', 'commands']] },
  { title: 'Connections', format: number(0), lines: [['Redis clients', 'clients'], ['our pool', 'connections'], ['live', 'live']] }
]
const colours = ['one', 'two', 'three']
const lifetimes = ['a minute', '5 minutes', '15 minutes', 'an hour', 'later', 'never']
const hour = 3600

let points = []
for (const chart of charts) prepare(chart)
element('legend').append(...lifetimes.map((name, index) => make('span', { className: `l${index}`, textContent: name })))

function prepare (chart) {
  const caption = make('figcaption', {}, make('b', { textContent: chart.title }))
  chart.values = chart.lines.map(([name], index) => {
    const value = make('span', { className: `key ${colours[index]}` })
    caption.append(value)
    return { name, value }
  })
  chart.place = make('div', { className: 'plot' })
  chart.place.setAttribute('role', 'img')
  element('charts').append(make('figure', { className: 'chart' }, caption, chart.place))
}

/** Curves take their colours from the style, so that both themes are theirs. */
function draw () {
  const style = getComputedStyle(document.documentElement)
  const colour = (name) => style.getPropertyValue(`--${name}`).trim()
  const axis = { stroke: colour('soft'), grid: { stroke: colour('line'), width: 1 }, ticks: { show: false }, font: '11px system-ui' }
  for (const chart of charts) {
    chart.plot?.destroy()
    chart.plot = new Plot({
      width: chart.place.clientWidth,
      height: 150,
      cursor: { y: false, points: { size: 6 } },
      scales: { x: { time: true, range: () => [Date.now() / 1000 - Math.min(hour, Math.max(120, span())), Date.now() / 1000] }, y: { range: chart.range ?? ((_plot, _min, max) => [0, max > 0 ? max * 1.15 : 1]) } },
      axes: [{ ...axis, size: 24, space: 60, values: (_plot, ticks) => ticks.map(clock) }, { ...axis, size: 58, values: (_plot, ticks) => ticks.map((tick) => chart.format(tick)) }],
      series: [{}, ...chart.lines.map(([name], index) => ({ label: name, stroke: colour(colours[index]), width: 1.75, fill: index === 0 && chart.lines.length === 1 ? `${colour(colours[index])}22` : undefined, points: { show: false }, spanGaps: true }))]
    }, dataOf(chart), chart.place)
  }
}

function span () {
  return points.length === 0 ? 0 : (Date.now() - points[0].at) / 1000
}

function dataOf ({ lines }) {
  return [points.map(({ at }) => at / 1000), ...lines.map(([, field]) => points.map((point) => field === 'memoryMax' ? point[field] || null : point[field]))]
}

function update () {
  const last = points.at(-1)
  for (const chart of charts) {
    chart.plot?.setData(dataOf(chart))
    chart.values.forEach(({ name, value }, index) => { value.textContent = `${name} ${chart.format(last?.[chart.lines[index][1]])}` })
    chart.place.setAttribute('aria-label', `${chart.title}: ${chart.values.map(({ value }) => value.textContent).join(', ')}`)
  }
}

function showTiles (point) {
  const share = point.memoryMax ? point.memoryUsed / point.memoryMax : null
  const tiles = [
    ['Hit rate', percent(point.hitShare)],
    ['Requests', number(1)(point.requests), 'a second'],
    ['99 % answered within', milliseconds(point.p99Ms)],
    ['99 % of round trips', milliseconds(point.roundTripP99Ms)],
    ['Redis memory', share === null ? bytes(point.memoryUsed) : percent(share), share === null ? 'no limit' : `of ${bytes(point.memoryMax)}`, share],
    ['Evictions', number(1)(point.evictions), 'a second'],
    ['Live connections', number(0)(point.live)]
  ]
  element('tiles').replaceChildren(...tiles.map(([name, value, unit, meter]) => make('dl', { className: 'tile' },
    make('dt', { textContent: name }),
    make('dd', {}, value, ...unit === undefined ? [] : [make('small', { textContent: unit })], ...typeof meter === 'number' ? [Object.assign(make('meter', { max: 1, low: 0.8, high: 0.9, optimum: 0.5, value: meter }), { ariaLabel: 'Share of Redis memory in use' })] : []))))
}

const ranks = { critical: 0, warning: 1, info: 2 }

function showState ({ alerts, namespaces, refused, redis }) {
  const firing = alerts.filter(({ state }) => state === 'firing').sort((one, other) => ranks[one.severity] - ranks[other.severity])
  const grave = firing.filter(({ severity }) => severity !== 'info')
  const state = element('state')
  state.dataset.state = grave.some(({ severity }) => severity === 'critical') ? 'wrong' : grave.length > 0 ? 'warned' : 'well'
  const text = grave.length === 0 ? 'All is well' : grave.length === 1 ? '1 alert' : `${grave.length} alerts`
  if (state.textContent !== text) state.textContent = text
  element('alerts').hidden = firing.length === 0
  element('alert-list').replaceChildren(...firing.map(({ severity, meaning, first }) => {
    const item = make('li', {}, make('h3', { textContent: meaning }), make('p', { textContent: `${severity}; first thing to do:` }), make('p', {}, ...withCode(first)))
    item.dataset.severity = severity
    return item
  }))
  element('about').textContent = redis === null ? 'Redis was not reached yet' : `Redis ${redis.version}, ${redis.role}, ${redis.memoryPolicy}`
  showSpaces(namespaces)
  showRefused(refused)
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
  element('spaces').tBodies[0].replaceChildren(...namespaces.filter(({ keys }) => keys > 0).map((each) => make('tr', {},
    make('td', { textContent: each.namespace }),
    make('td', {}, number(0)(each.keys), bar(each.keys / mostKeys)),
    make('td', { className: 'bytes' }, bytes(each.bytes || null), bar(each.bytes / mostBytes)),
    make('td', {}, lifeOf(each.lifetimes)))))
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

function showRefused (refused) {
  const rows = refused.length === 0 ? [make('tr', {}, make('td', { colSpan: 3, textContent: 'Nobody was refused.' }))] : refused.map(({ who, policy, count }) => make('tr', {}, ...[who, policy, number(0)(count)].map((textContent) => make('td', { textContent }))))
  element('refused').tBodies[0].replaceChildren(...rows)
}

const feed = new EventSource('/ops/feed')
feed.addEventListener('history', ({ data }) => {
  points = JSON.parse(data)
  draw()
  update()
})
feed.addEventListener('now', ({ data }) => {
  const { point, minute, ...state } = JSON.parse(data)
  if (point !== null) {
    if (point.at > (points.at(-1)?.at ?? 0)) points.push(point)
    points = points.filter(({ at }) => at > Date.now() - hour * 1000)
  }
  if (minute !== null) showTiles(minute)
  update()
  showState(state)
})
feed.addEventListener('error', () => {
  element('state').dataset.state = 'waiting'
  element('state').textContent = 'Connecting'
})

matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw)
new ResizeObserver(() => charts.forEach(({ plot, place }) => plot?.setSize({ width: place.clientWidth, height: 150 }))).observe(element('charts'))

element('purge').addEventListener('submit', (event) => {
  event.preventDefault()
  element('confirm-text').textContent = `Drop every cached answer with the tag “${element('tag').value}”, in all processes? They are made anew when somebody asks.`
  element('confirm').returnValue = 'no'
  element('confirm').showModal()
})
element('confirm').addEventListener('close', async () => {
  if (element('confirm').returnValue !== 'yes') return
  const { ok } = await fetch('/ops/purge', { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ tags: [element('tag').value] }) })
  element('purged').textContent = ok ? `Purged ${element('tag').value}.` : 'It was not purged: Redis does not answer, or your half hour is over.'
})
