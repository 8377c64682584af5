import { DatabaseSync } from 'node:sqlite'
import { parentPort, workerData } from 'node:worker_threads'
import { Cities } from './cities.ts'
import type { CitySearch, FoundCity } from './cities.ts'

/** A request to the thread, one at a time. */
type Ask = CitySearch

/** The thread's reply. */
export type Answer = { readonly cities: FoundCity[] } | { readonly failure: string }

const cities = new Cities(new DatabaseSync(String(workerData), { readOnly: true, timeout: 2000 }))

parentPort?.on('message', (ask: Ask) => parentPort?.postMessage(answerTo(ask)))

function answerTo (ask: Ask): Answer {
  try {
    return { cities: cities.search(ask) }
  } catch (error) {
    return { failure: error instanceof Error ? error.message : String(error) }
  }
}
