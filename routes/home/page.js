import { startBudget } from './budget.js'
import { startHealth } from './health.js'
import { startNotes } from './notes.js'
import { startResponses } from './responses.js'
import { startSearch } from './search.js'
import { startReader, readCity } from './reader.js'

let chosen

function choose (city) {
  chosen = city
  for (const place of document.querySelectorAll('.city')) place.textContent = city.name
  document.querySelector('.tag').textContent = `city:${city.id}`
  document.querySelector('a.live').href = `/cities/${city.id}/live`
  readCity(city)
}

startResponses()
startHealth()
startBudget()
startSearch(choose)
startReader()
startNotes(() => chosen)
choose({ id: 2988507, name: 'Paris' })
