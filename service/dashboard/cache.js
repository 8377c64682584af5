import { bytes, element, fillTable, lasting, make, number } from './form.js'

const says = {
  uncached: 'No route that answers this URL keeps its answers.',
  apart: 'Each visitor has an answer of their own there; they are not shown.',
  nothing: 'Nothing is stored for it: never asked for, purged, or its time is over.',
  unavailable: 'Redis does not answer.'
}
const over = 'Redis does not answer, or your half hour is over.'

let confirmed = () => {}

/** Asks before something is done. */
function confirm (text, { accept, decline, isGrave }, then) {
  element('confirm-text').textContent = text
  element('accept').textContent = accept
  element('decline').textContent = decline
  element('accept').className = isGrave ? 'danger' : ''
  confirmed = then
  element('confirm').returnValue = 'no'
  element('confirm').showModal()
}

const post = (path, body) => fetch(path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })

element('confirm').addEventListener('close', () => { if (element('confirm').returnValue === 'yes') confirmed() })

element('purge').addEventListener('submit', (event) => {
  event.preventDefault()
  const tag = element('tag').value
  confirm(`Drop every stored answer with the tag “${tag}”, in all processes? They are made anew when somebody asks.`, { accept: 'Purge', decline: 'Keep them', isGrave: true }, async () => {
    const { ok } = await post('/ops/purge', { tags: [tag] })
    element('purged').textContent = ok ? `Purged ${tag}.` : `It was not purged: ${over}`
  })
})

const outcomes = { sent: 'The receiver took it.', none: 'No ALERT_WEBHOOK_URL is set: it went to the topic alerts alone.' }

element('alert-test').addEventListener('submit', async (event) => {
  event.preventDefault()
  element('alert-tested').textContent = 'Sending…'
  const response = await post('/ops/alert-test', {}).catch(() => undefined)
  const { webhook, reason } = response?.ok ? await response.json() : {}
  element('alert-tested').textContent = webhook === undefined ? `It was not sent: ${over}` : outcomes[webhook] ?? `The receiver did not take it: ${reason}.`
})

element('look').addEventListener('submit', (event) => {
  event.preventDefault()
  const url = element('url').value
  confirm(`Look at what is stored for ${url}? Its fields may tell of who asked for it; the log notes that an operator looked.`, { accept: 'Look', decline: 'Leave it', isGrave: false }, async () => {
    const answer = await post('/ops/entry', { url })
    const view = answer.ok ? await answer.json() : undefined
    element('looked').textContent = view === undefined ? `It cannot be shown: ${over}` : says[view.found] ?? `Stored under ${view.route}.`
    element('entry').hidden = view?.fields === undefined
    if (view?.fields !== undefined) showEntry(view)
  })
})

/** An answer: its age and size at one look, then its tags, then its fields. */
function showEntry ({ found, status, ageSeconds, freshSeconds, tags, fields, bodyBytes, coding }) {
  const facts = [
    ['Answer', `${status}, ${found}`],
    ['Made', `${lasting(ageSeconds)} ago`],
    freshSeconds > 0 ? ['Fresh for', lasting(freshSeconds)] : ['Stale since', lasting(-freshSeconds)],
    ['Body', `${bytes(bodyBytes)}${coding === 'identity' ? '' : `, ${coding}`}`]
  ]
  element('entry').replaceChildren(
    make('dl', { className: 'facts' }, ...facts.map(([name, value]) => make('div', {}, make('dt', { textContent: name }), make('dd', { textContent: value })))),
    make('ul', { className: 'tags', ariaLabel: 'Tags' }, ...tags.map((tag) => make('li', { textContent: tag }))),
    make('table', { className: 'fields' },
      make('thead', {}, make('tr', {}, ...['Field', 'Value'].map((textContent) => make('th', { scope: 'col', textContent })))),
      make('tbody', {}, ...fields.map(([name, value]) => make('tr', {}, make('td', { textContent: name }), make('td', { textContent: value })))))
  )
}

/** Who was refused, and how long commands take inside the server. */
export function showTables ({ refused, commands }) {
  const row = (texts, numbersFrom) => make('tr', {}, ...texts.map((textContent, index) => make('td', { textContent, className: index < numbersFrom ? '' : 'number' })))
  fillTable('refused', refused.map(({ who, policy, count }) => row([who, policy, number(0)(count)], 2)), 'Nobody was refused.')
  const micros = (seconds) => seconds == null ? '–' : `${number(1)(seconds * 1e6)} µs`
  fillTable('commands', commands.map(({ command, calls, p50Seconds, p99Seconds }) => row([command, number(0)(calls), micros(p50Seconds), micros(p99Seconds)], 1)), 'Redis has told of no command yet.')
}
