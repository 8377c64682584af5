import { sendRequest, observe } from './request.js'
import { clock, element, make, tell } from './element.js'

const pollMs = 3000
let lostAt

/** Shows whether the service and its Redis can be used, and during an outage what still works. */
export function startHealth () {
  observe(({ status }) => { if (status === 0) lost() })
  check()
  setInterval(() => { if (!document.hidden) check() }, pollMs)
  document.addEventListener('visibilitychange', () => { if (!document.hidden) check() })
}

async function check () {
  const { status, value } = await sendRequest('GET', '/healthz/ready', { isQuiet: true })
  if (status === 0) return
  lostAt = undefined
  if (value?.status === 'draining') return show('warned', 'Restarting', ['The service is shutting down.', 'Requests in progress finish; the next process serves those that follow.'])
  if (value?.redis !== 'degraded') return show('well', 'Redis ready')
  const sessions = value.reason?.holds === 'sessions'
  show('wrong', sessions ? 'Sessions unavailable' : 'Redis unavailable', [
    value.reason?.sentence ?? 'Redis does not respond.',
    sessions
      ? 'Cache and rate limits work; nothing can be signed in or written until the Redis of the sessions is back.'
      : 'Searches and cities are still served: the cache is bypassed, and each process counts its own rate limits. Sign-in and notes respond with 503. The page goes on by itself when Redis is back.',
    ...value.reason?.remedy === undefined ? [] : [`To do: ${value.reason.remedy.replaceAll('`', '')}`]
  ])
}

function lost () {
  lostAt ??= Date.now()
  show('wrong', 'No connection', [`The service cannot be reached since ${clock(lostAt)}.`, 'Is it running? This page tries again every few seconds.'])
}

function show (state, text, outage = []) {
  element('state').dataset.state = state
  tell(element('state'), text)
  const place = element('outage')
  place.hidden = outage.length === 0
  // Replaced only if it differs: each change of an alert is announced.
  const [title, ...lines] = outage
  if (outage.length > 0 && place.textContent !== outage.join('')) place.replaceChildren(make('b', { textContent: title }), ...lines.map((textContent) => make('p', { textContent })))
}
