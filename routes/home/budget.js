import { sendRequest, observe } from './request.js'
import { count, element, make, seconds } from './element.js'

const texts = { default: 'All requests of your address', random: '“Surprise me”', writes: 'Notes, sign-ups, sign-outs' }
const bars = new Map()
const pollMs = 1000

/** Shows what is left of each quota: at once after each response, and each second until all of it is back. */
export function startBudget () {
  observe(({ limits }) => { for (const [name, limit] of limits ?? []) bars.get(name)?.show(limit) })
  setInterval(poll, pollMs)
  return read()
}

async function read () {
  const { limits } = await sendRequest('GET', '/budget', { isQuiet: true })
  if (limits === undefined || limits.size === 0) return
  for (const [name, limit] of limits) {
    if (!bars.has(name)) bars.set(name, barOf(name, limit))
    bars.get(name).show(limit)
  }
  element('budget').replaceChildren(...[...bars.values()].map(({ place }) => place))
}

async function poll () {
  if (document.hidden) return
  if (bars.size === 0) return await read()
  if ([...bars.values()].some(({ isFull }) => !isFull)) await sendRequest('GET', '/budget', { isQuiet: true })
}

function barOf (name, { q, w }) {
  const left = make('b', {})
  const fill = make('i')
  const gauge = make('span', { className: 'gauge', role: 'meter', ariaLabel: `Left of the quota: ${texts[name] ?? name}`, ariaValueMin: '0', ariaValueMax: String(q) }, fill)
  const when = make('small', {})
  const place = make('div', { className: 'bar' }, make('p', {}, make('span', { textContent: texts[name] ?? name }), left), gauge, when)
  const bar = { place, isFull: false, show }
  function show ({ r, t = 0 }) {
    if (r === undefined) return
    bar.isFull = r >= q
    left.textContent = `${count(r)} of ${count(q)}`
    fill.style.width = `${r / q * 100}%`
    gauge.ariaValueNow = String(r)
    when.textContent = r >= q ? `${count(q)} in any ${seconds(w)}` : r === 0 ? `Used up: more in ${seconds(t)}` : `${count(q)} in any ${seconds(w)}; more in ${seconds(t)}`
    place.dataset.state = r === 0 ? 'empty' : r < q / 4 ? 'low' : ''
  }
  return bar
}
