import { connect } from '/live.js'
import { sendRequest } from './request.js'
import { clock, element, make, milliseconds, tell } from './element.js'
import { outcomeOf } from './explain.js'

const shownNotes = 3
const shownSteps = 5
const words = { connecting: ['waiting', 'Connecting'], waiting: ['warned', 'Reconnecting'], open: ['well', 'Live'], closed: ['warned', 'Reconnecting'] }
const texts = { hit: 'hit, from Redis', stale: 'stale hit', miss: 'miss, the handler ran', bypass: 'the cache was bypassed', plain: 'not cached', refused: 'rejected' }
const steps = []
let city

/** The second panel: a client without a session that reads a city, and reads it again when an event tells of a note. */
export function startReader () {
  element('read').addEventListener('click', read)
  follow()
}

/** Shows another city. */
export async function readCity (chosen) {
  city = chosen
  steps.length = 0
  await read()
}

/** One live connection; a new one after the server has closed it for good, as it does when the session of its cookie ends. */
function follow () {
  const live = connect()
  let isFirst = true
  const show = () => {
    const [state, text] = words[live.state]
    element('live').dataset.state = state
    tell(element('live'), text)
    if (live.state === 'closed') setTimeout(follow, 1000)
  }
  live.addEventListener('state', show)
  show()
  live.subscribe('events', ({ type, data }) => {
    if (type !== 'city.noted' || data.city !== city?.id) return
    addStep('event', `event city.noted: ${data.author} has written`)
    read()
  }, {
    fetch: () => {
      if (!isFirst) read() // events were lost: the notes are loaded instead
      isFirst = false
    }
  })
}

async function read () {
  const requested = city
  const response = await sendRequest('GET', `/cities/${requested.id}`, { isAnonymous: true })
  if (requested !== city) return
  const { ok, status, value, age, ms } = response
  addStep(outcomeOf(response), `GET /cities/${requested.id}: ${ok ? texts[outcomeOf(response)] : status === 0 ? 'no response' : status}${age === undefined ? '' : `, age ${age} s`}, ${milliseconds(ms)}`)
  if (ok) showNotes(value.notes)
}

function showNotes (notes) {
  element('no-notes').hidden = notes.length > 0
  element('notes').replaceChildren(...notes.slice(0, shownNotes).map(({ author, text, updatedAt }) => make('li', {},
    make('p', { className: 'by' }, make('b', { textContent: author }), make('time', { dateTime: updatedAt, textContent: clock(updatedAt) })),
    make('p', { textContent: text }))))
}

function addStep (outcome, text) {
  const step = make('li', { className: outcome }, make('time', { textContent: clock(Date.now()) }), text)
  steps.unshift(step)
  steps.splice(shownSteps)
  element('steps').replaceChildren(...steps)
}
