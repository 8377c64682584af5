/* global uPlot, getComputedStyle, matchMedia, ResizeObserver, devicePixelRatio */
import { bytes, clock, element, make, milliseconds, number, percent } from './form.js'
import { markUnknown } from './state.js'

const Plot = uPlot
const hourSeconds = 3600
const height = 140
/** Axis marks of sizes are powers of two, of counts integers. */
const sizes = Array.from({ length: 31 }, (_, power) => 2 ** (power + 8))
const wholes = Array.from({ length: 7 }, (_, power) => [1, 2, 5].map((digit) => digit * 10 ** power)).flat()
const charts = [
  { title: 'Hit rate', format: percent, range: [0, 1], lines: [['hits', 'hitShare']], empty: 'No requests to cached routes' },
  { title: 'Requests per second', format: number(1), lines: [['all', 'requests'], ['rejected', 'rejected'], ['failed', 'failed']] },
  { title: 'Response time', format: milliseconds, lines: [['p50', 'p50Ms'], ['p99', 'p99Ms']], empty: 'No requests' },
  { title: 'Redis round trip', format: milliseconds, lines: [['p50', 'roundTripP50Ms'], ['p99', 'roundTripP99Ms']], empty: 'No Redis commands' },
  { title: 'Redis memory', format: bytes, marks: sizes, lines: [['used', 'memoryUsed'], ['limit', 'memoryMax']], isRedis: true },
  { title: 'Evictions per second', format: number(1), lines: [['evicted', 'evictions']], isRedis: true },
  { title: 'Redis commands per second', format: number(1), lines: [['commands', 'commands']], isRedis: true },
  { title: 'Connections', format: number(0), marks: wholes, lines: [['to Redis', 'clients'], ['of ours', 'connections'], ['live', 'live']] },
  { title: 'Events per second', format: number(1), lines: [['published', 'published'], ['delivered', 'delivered']] }
]
const colours = ['one', 'two', 'three']

let points = []
/** time of the last figures of Redis while they are not current, or null */
let unknownSince = null
let isReached = false
/** the latest build and when its first process started */
let deploy
for (const chart of charts) prepare(chart)
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw)
new ResizeObserver(() => charts.forEach(({ plot, place }) => plot?.setSize({ width: place.clientWidth, height }))).observe(element('charts'))

/** Draws the last hour. */
export function showHistory (all) {
  points = all
  draw()
  update()
}

/** Sets which figures of Redis are current; shown with the next point. */
export function showUnknown (now) {
  unknownSince = now.unknownSince
  isReached = now.redis !== null
}

/** Marks the last deployment on all charts. */
export function showDeploy (process) {
  deploy = process
}

/** Adds a point; null: none yet. */
export function addPoint (point) {
  if (point !== null && point.at > (points.at(-1)?.at ?? 0)) points.push(point)
  points = points.filter(({ at }) => at > Date.now() - hourSeconds * 1000)
  update()
}

function prepare (chart) {
  const values = make('span', { className: 'values' })
  chart.values = chart.lines.map(([name], index) => {
    const value = make('b')
    values.append(make('span', { className: `key ${colours[index]}` }, `${name} `, value))
    return { name, value }
  })
  chart.place = make('div', { className: 'plot' })
  chart.place.setAttribute('role', 'img')
  chart.figure = make('figure', { className: 'chart' }, make('figcaption', {}, make('b', { textContent: chart.title }), values), chart.place)
  element('charts').append(chart.figure)
}

/** Colours come from the stylesheet, for both themes. */
function draw () {
  const style = getComputedStyle(document.documentElement)
  const colour = (name) => style.getPropertyValue(`--${name}`).trim()
  const axis = { stroke: colour('soft'), grid: { stroke: colour('line'), width: 1 }, ticks: { show: false }, font: '11px system-ui, sans-serif' }
  for (const chart of charts) {
    chart.plot?.destroy()
    chart.plot = new Plot({
      width: chart.place.clientWidth,
      height,
      padding: [16, 24, 0, 0], // for the build above the lines, and for half of the last time
      cursor: { y: false, points: { size: 7 } },
      scales: { x: { time: true, range: () => [Date.now() / 1000 - Math.min(hourSeconds, Math.max(20, span() * 1.04)), Date.now() / 1000] }, y: { range: chart.range ?? ((_plot, _min, max) => [0, max > 0 ? max * 1.15 : 1]) } },
      axes: [
        { ...axis, grid: { show: false }, size: 22, space: 80, values: (_plot, ticks) => ticks.map(tickText) },
        { ...axis, size: 60, gap: 8, space: 34, ...chart.marks === undefined ? {} : { incrs: chart.marks }, values: (_plot, ticks) => ticks.map((tick) => chart.format(tick)) }
      ],
      series: [{}, ...chart.lines.map(([name], index) => ({ label: name, stroke: colour(colours[index]), width: 2, fill: index === 0 ? shade(colour(colours[0])) : undefined, points: { show: false }, spanGaps: chart.isRedis !== true }))],
      hooks: { draw: [markDeploy] }
    }, dataOf(chart), chart.place)
  }
}

/** A gradient that fades towards the axis. */
function shade (colour) {
  return ({ ctx, bbox: { top, height } }) => {
    // Called once before the chart has a size.
    if (!Number.isFinite(top + height)) return 'transparent'
    const gradient = ctx.createLinearGradient(0, top, 0, top + height)
    gradient.addColorStop(0, `${colour}38`)
    gradient.addColorStop(1, `${colour}00`)
    return gradient
  }
}

/** A dashed line at the last deployment, with its build. */
function markDeploy ({ ctx, bbox, valToPos }) {
  const at = deploy === undefined ? -1 : valToPos(deploy.startedAt / 1000, 'x', true)
  if (!(at >= bbox.left && at <= bbox.left + bbox.width)) return
  const style = getComputedStyle(document.documentElement)
  ctx.save()
  ctx.strokeStyle = ctx.fillStyle = style.getPropertyValue('--soft').trim()
  ctx.lineWidth = devicePixelRatio
  ctx.setLineDash([4 * devicePixelRatio, 4 * devicePixelRatio])
  ctx.beginPath()
  ctx.moveTo(at, bbox.top)
  ctx.lineTo(at, bbox.top + bbox.height)
  ctx.stroke()
  ctx.font = `${10 * devicePixelRatio}px system-ui, sans-serif`
  ctx.textAlign = at > bbox.left + bbox.width * 0.7 ? 'right' : 'left'
  ctx.fillText(`${deploy.version} ${deploy.commit.slice(0, 7)}`.trim(), at + (ctx.textAlign === 'left' ? 4 : -4) * devicePixelRatio, bbox.top - 4 * devicePixelRatio)
  ctx.restore()
}

/** The last known value of a line. */
function lastKnown (field) {
  return points.findLast((point) => point[field] != null)?.[field]
}

function emptyText ({ isRedis, empty = 'No data' }) {
  if (!isRedis) return empty
  return unknownSince !== null ? `Unknown since ${clock(unknownSince)}` : isReached ? 'No figures in the last hour' : 'Redis not reached'
}

function tickText (seconds) {
  return new Date(seconds * 1000).toLocaleTimeString('en-GB', span() < 600 ? {} : { hour: '2-digit', minute: '2-digit' })
}

function span () {
  return points.length === 0 ? 0 : (Date.now() - Math.min(points[0].at, deploy?.startedAt ?? Infinity)) / 1000
}

function dataOf ({ lines }) {
  return [points.map(({ at }) => at / 1000), ...lines.map(([, field]) => points.map((point) => field === 'memoryMax' ? point[field] || null : point[field]))]
}

function update () {
  const last = points.at(-1)
  for (const chart of charts) {
    chart.plot?.setData(dataOf(chart))
    chart.values.forEach(({ value }, index) => { value.textContent = chart.format(chart.isRedis ? lastKnown(chart.lines[index][1]) : last?.[chart.lines[index][1]]) })
    const isEmpty = points.every((point) => chart.lines.every(([, field]) => point[field] == null))
    chart.place.dataset.empty = isEmpty ? emptyText(chart) : ''
    if (chart.isRedis) markUnknown(chart.figure, unknownSince)
    chart.place.setAttribute('aria-label', isEmpty ? chart.place.dataset.empty : chart.values.map(({ name, value }) => `${name} ${value.textContent}`).join(', '))
  }
}
