import { observe } from './request.js'
import { element, make, milliseconds } from './element.js'
import { explain, outcomeOf } from './explain.js'

const shown = 8
const none = '–'
const lines = []

/** Lists each response, the newest first. A rejection that repeats the one before is counted in its line. */
export function startResponses () {
  let last = { times: 0 }
  observe((response) => {
    if (response.isQuiet) return
    const isRepeated = response.status >= 400 && ['status', 'method', 'path'].every((name) => response[name] === last[name])
    last = { ...response, times: isRepeated ? last.times + 1 : 1 }
    if (isRepeated) lines.shift()
    lines.unshift(lineOf(last))
    lines.splice(shown)
    element('responses').tBodies[0].replaceChildren(...lines)
  })
}

function lineOf (response) {
  const { method, path, status, cacheStatus, age, ms, isAnonymous, times } = response
  const cell = (label, className, ...content) => {
    const made = make('td', { className }, ...content)
    made.dataset.label = label
    if (content[0] === none) made.dataset.empty = ''
    return made
  }
  const line = make('tr', { className: 'line' },
    make('th', { scope: 'row' }, make('code', { textContent: `${method} ${decodeURI(path)}` }), ...isAnonymous ? [make('small', { textContent: 'another client' })] : [], ...times > 1 ? [make('small', { textContent: `${times} times` })] : []),
    cell('Status', status === 0 || status >= 400 ? 'failed' : '', status === 0 ? 'none' : String(status)),
    cell('Cache-Status', '', cacheStatus === undefined ? none : make('code', { textContent: cacheStatus.replace(/^prism; */, '') })),
    cell('Age', 'number', age === undefined ? none : `${age} s`),
    cell('Latency', 'number', milliseconds(ms)),
    cell('', 'why', explain(response)))
  line.dataset.outcome = outcomeOf(response)
  return line
}
