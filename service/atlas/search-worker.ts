import { DatabaseSync } from 'node:sqlite'
import { parentPort, workerData } from 'node:worker_threads'
import { Cities } from './cities.ts'
import type { CitySearch, FoundCity } from './cities.ts'

/** The thread's reply. */
export type SearchResult = { readonly cities: FoundCity[] } | { readonly failure: string }

const cities = new Cities(new DatabaseSync(String(workerData), { readOnly: true, timeout: 2000 }))

parentPort?.on('message', (search: CitySearch) => parentPort?.postMessage(resultOf(search)))

function resultOf (search: CitySearch): SearchResult {
  try {
    return { cities: cities.search(search) }
  } catch (error) {
    return { failure: error instanceof Error ? error.message : String(error) }
  }
}
