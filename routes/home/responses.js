import { observe } from './ask.js'
import { element, make, milliseconds } from './element.js'
import { explain, outcomeOf } from './explain.js'

const shown = 8
const none = '–'
const lines = []

/** Lists each response, the newest first. */
export function startResponses () {
  observe((answer) => {
    if (answer.isQuiet) return
    lines.unshift(lineOf(answer))
    lines.splice(shown)
    element('responses').tBodies[0].replaceChildren(...lines)
  })
}

function lineOf (answer) {
  const { method, path, status, cacheStatus, age, ms, isAnonymous } = answer
  const cell = (label, className, ...content) => {
    const made = make('td', { className }, ...content)
    made.dataset.label = label
    if (content[0] === none) made.dataset.empty = ''
    return made
  }
  const line = make('tr', { className: 'line' },
    make('th', { scope: 'row' }, make('code', { textContent: `${method} ${decodeURI(path)}` }), ...isAnonymous ? [make('small', { textContent: 'another client' })] : []),
    cell('Status', status === 0 || status >= 400 ? 'failed' : '', status === 0 ? 'none' : String(status)),
    cell('Cache-Status', '', cacheStatus === undefined ? none : make('code', { textContent: cacheStatus.replace(/^prism; */, '') })),
    cell('Age', 'number', age === undefined ? none : `${age} s`),
    cell('Latency', 'number', milliseconds(ms)),
    cell('', 'why', explain(answer)))
  line.dataset.outcome = outcomeOf(answer)
  return line
}
