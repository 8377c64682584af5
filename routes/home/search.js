import { sendRequest } from './request.js'
import { count, countDown, country, element, make, seconds, tell } from './element.js'

const pauseMs = 150
const limit = 6
const hint = 'Type the beginning of a name; accents do not matter.'
let request = new AbortController()
let timer
let stopWaiting = () => {}

/** Searches as the user types; `choose(city)` is called with the city that was selected. */
export function startSearch (choose) {
  const input = element('q')
  input.addEventListener('input', () => later(choose))
  element('search').addEventListener('submit', (event) => {
    event.preventDefault()
    search(choose)
  })
  for (const example of element('examples').querySelectorAll('button')) {
    example.addEventListener('click', () => {
      input.value = example.textContent
      search(choose)
    })
  }
  element('random').addEventListener('click', () => surprise(choose))
  for (const place of [input, element('cities')]) place.addEventListener('keydown', move)
}

function later (choose) {
  clearTimeout(timer)
  timer = setTimeout(() => search(choose), pauseMs)
}

async function search (choose) {
  clearTimeout(timer)
  stopWaiting()
  request.abort()
  request = new AbortController()
  const q = element('q').value.trim()
  if (q === '') return showCities([], hint)
  element('cities').ariaBusy = 'true'
  const response = await sendRequest('GET', `/cities?q=${encodeURIComponent(q)}&limit=${limit}`, { signal: request.signal })
  if (response === undefined) return // a later search has replaced it
  element('cities').ariaBusy = 'false'
  const { ok, status, value, retryAfter } = response
  if (ok) return showCities(value.cities.map((city) => itemOf(city, choose)), value.cities.length === 0 ? `No city begins with “${q}”.` : value.cities.length === limit ? `The ${limit} largest:` : `${value.cities.length} found:`)
  if (status !== 429 && status !== 503) return showCities([], value?.detail ?? 'The service cannot be reached.', true)
  stopWaiting = countDown(retryAfter ?? 1, (left) => showCities([], `${status === 429 ? 'Your quota is used up (429)' : 'Temporarily unavailable (503)'}: the search goes on in ${seconds(left)}.`, true), () => search(choose))
}

function showCities (items, text, isFault = false) {
  element('cities').replaceChildren(...items)
  element('examples').hidden = items.length > 0
  element('found').className = isFault ? 'fault' : ''
  tell(element('found'), text)
}

function itemOf (city, choose) {
  const button = make('button', { type: 'button', className: 'city-row' },
    make('b', { textContent: city.name }), make('span', { textContent: country(city.country) }), make('span', { className: 'number', textContent: count(city.population) }))
  button.addEventListener('click', () => choose(city))
  return make('li', {}, button)
}

async function surprise (choose) {
  const button = element('random')
  if (button.ariaDisabled === 'true') return
  const { ok, status, value, retryAfter = 1 } = await sendRequest('GET', '/cities/random')
  if (ok) {
    element('q').value = ''
    showCities([itemOf(value, choose)], 'One of the thousand largest:')
    return choose(value)
  }
  if (status !== 429 && status !== 503) return showCities([], value?.detail ?? 'The service cannot be reached.', true)
  // Not `disabled`, which would take the focus from the button.
  button.ariaDisabled = 'true'
  countDown(retryAfter, (left) => { button.textContent = `Wait ${left} s` }, () => {
    button.ariaDisabled = 'false'
    button.textContent = 'Surprise me'
  })
}

/** Arrow keys move between the field and the cities. */
function move (event) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key]
  if (step === undefined) return
  const places = [element('q'), ...element('cities').querySelectorAll('button')]
  const next = places[places.indexOf(document.activeElement) + step]
  if (next === undefined) return
  event.preventDefault()
  next.focus()
}
