import { bytes, element, lasting, make } from './form.js'

const says = {
  uncached: 'No cached route matches this URL.',
  apart: 'The responses of this route are partitioned by user; they are not shown.',
  nothing: 'No response is stored: not requested yet, purged, or expired.',
  unavailable: 'Redis does not respond.'
}
const over = 'Redis does not respond, or your session of half an hour has expired.'

let confirmed = () => {}

/** Opens the confirmation dialog. */
function confirm (text, { accept, decline, isDangerous }, then) {
  element('confirm-text').textContent = text
  element('accept').textContent = accept
  element('decline').textContent = decline
  element('accept').className = isDangerous ? 'danger' : ''
  confirmed = then
  element('confirm').returnValue = 'no'
  element('confirm').showModal()
}

const post = (path, body) => fetch(path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })

element('confirm').addEventListener('close', () => { if (element('confirm').returnValue === 'yes') confirmed() })

element('purge').addEventListener('submit', (event) => {
  event.preventDefault()
  const tag = element('tag').value
  confirm(`Purge all stored responses with the tag “${tag}” in all processes? They are generated again on request.`, { accept: 'Purge', decline: 'Cancel', isDangerous: true }, async () => {
    const { ok } = await post('/ops/purge', { tags: [tag] })
    element('purged').textContent = ok ? `Purged ${tag}.` : `Purge failed: ${over}`
  })
})

const outcomes = { sent: 'The receiver accepted the message.', none: 'ALERT_WEBHOOK_URL is not set: the message was published only on the topic alerts.' }

element('alert-test').addEventListener('submit', async (event) => {
  event.preventDefault()
  element('alert-tested').textContent = 'Sending…'
  const response = await post('/ops/alert-test', {}).catch(() => undefined)
  const { webhook, reason } = response?.ok ? await response.json() : {}
  element('alert-tested').textContent = webhook === undefined ? `Sending failed: ${over}` : outcomes[webhook] ?? `The receiver rejected the message: ${reason}.`
})

element('look').addEventListener('submit', (event) => {
  event.preventDefault()
  const url = element('url').value
  confirm(`Show the stored response of ${url}? Its fields can contain data of a client; the access is logged.`, { accept: 'Show', decline: 'Cancel', isDangerous: false }, async () => {
    const response = await post('/ops/entry', { url })
    const view = response.ok ? await response.json() : undefined
    element('looked').textContent = view === undefined ? `The lookup failed: ${over}` : says[view.found] ?? `Stored under ${view.route}.`
    element('entry').hidden = view?.fields === undefined
    if (view?.fields !== undefined) showEntry(view)
  })
})

/** Shows a stored response: age and size, tags, fields. */
function showEntry ({ found, status, ageSeconds, freshSeconds, tags, fields, bodyBytes, coding }) {
  const facts = [
    ['Response', `${status}, ${found}`],
    ['Generated', `${lasting(ageSeconds)} ago`],
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
