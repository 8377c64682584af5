/* global FormData, localStorage */
import { sendRequest } from './request.js'
import { countDown, element, seconds, tell } from './element.js'

// The cookie is invisible to scripts: the name tells the next page load that a session may exist.
const remembered = 'fastify-prism.user'
let stopWaiting = () => {}

/** Signs in and out, and writes notes about the city that `chosen()` returns. */
export async function startNotes (chosen) {
  element('sign-in').addEventListener('submit', signIn)
  element('sign-out').addEventListener('click', signOut)
  element('note').addEventListener('submit', (event) => write(event, chosen()))
  if (localStorage.getItem(remembered) === null) return
  const { ok, status, value } = await sendRequest('GET', '/session')
  if (ok) showUser(value.name)
  else if (status === 401) forget('Your session has ended (401). Sign in again.')
  else fault(value?.detail ?? 'The service cannot be reached.')
}

async function signIn (event) {
  event.preventDefault()
  const body = Object.fromEntries(new FormData(event.target))
  const isNew = event.submitter?.value === 'new'
  if (isNew && !await send(event.submitter, 'POST', '/users', body)) return
  const { value } = await send(event.submitter, 'POST', '/session', body) ?? {}
  if (value === undefined) return
  element('password').value = ''
  showUser(value.name)
  element('text').focus()
}

async function signOut (event) {
  if (!await send(event.currentTarget, 'DELETE', '/session')) return
  forget('')
  element('name').focus()
}

async function write (event, { id }) {
  event.preventDefault()
  const response = await send(event.submitter, 'PUT', `/cities/${id}/notes`, { text: element('text').value })
  if (response !== undefined) element('text').value = ''
}

/** Sends a change and shows why it failed. Resolves to undefined if it did. */
async function send (button, method, path, body) {
  if (button.ariaDisabled === 'true') return undefined
  stopWaiting()
  button.ariaDisabled = 'true'
  const response = await sendRequest(method, path, { body })
  button.ariaDisabled = 'false'
  const { ok, status, value, retryAfter } = response
  if (ok) {
    fault('')
    return response
  }
  // A wrong password is 401 too, and ends no session.
  if (status === 401 && path !== '/session') forget('You are not signed in any more (401). Sign in again.')
  else if (status === 429) wait(button, value, retryAfter)
  else if (value?.code === 'PRISM_ERR_REDIS_UNAVAILABLE') fault('Without Redis sessions cannot be read or changed (503). Try again when it is back.')
  else fault(value?.detail ?? 'The service cannot be reached. Try again.')
  return undefined
}

function wait (button, value, retryAfter = 1) {
  button.ariaDisabled = 'true'
  stopWaiting = countDown(retryAfter, (left) => fault(`${value?.code === 'PRISM_ERR_ATTEMPTS_FULL' ? 'Too many attempts for this name' : 'Quota used up'} (429): wait ${seconds(left)}.`), () => {
    button.ariaDisabled = 'false'
    fault('')
  })
}

function showUser (name) {
  localStorage.setItem(remembered, name)
  element('who').textContent = name
  element('sign-in').hidden = true
  element('note').hidden = false
  fault('')
}

function forget (text) {
  localStorage.removeItem(remembered)
  element('sign-in').hidden = false
  element('note').hidden = true
  fault(text)
}

function fault (text) {
  tell(element('note-fault'), text)
}
