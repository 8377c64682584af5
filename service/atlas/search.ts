import { Worker } from 'node:worker_threads'
import { SearchesFullError } from '../errors.ts'
import type { CitySearch, FoundCity } from './cities.ts'
import { readPlace } from './place.ts'
import type { SearchResult } from './search-worker.ts'
import { WorkQueue } from './work-queue.ts'

/**
 * Searches cities on a worker thread: the slowest search takes a tenth of a second, which would block the event loop.
 *
 * The thread starts with the first search, and again after a failure. It does not keep the process alive.
 */
export class CitySearches {
  readonly #path: string
  readonly #queue = new WorkQueue({ atOnce: 1, maxWaitMs: 2000, assumedMs: 10, full: (seconds) => new SearchesFullError(seconds) })
  #worker: Worker | undefined

  /** @param path of the loaded database */
  constructor (path: string) {
    this.#path = path
  }

  /** Like `Cities.search`. @throws {PlaceError} PRISM_ERR_PLACE; {SearchesFullError} PRISM_ERR_SEARCHES_FULL */
  async find (search: CitySearch): Promise<FoundCity[]> {
    if (search.near !== undefined) readPlace(search.near)
    return await this.#queue.run(() => this.#search(search))
  }

  /** Ends the thread; a running search fails. */
  async close (): Promise<void> {
    await this.#worker?.terminate()
  }

  #search (search: CitySearch): Promise<FoundCity[]> {
    const worker = this.#worker ??= this.#start()
    return new Promise((resolve, reject) => {
      const settle = (take: () => void) => {
        worker.off('message', heard).off('error', failed).off('exit', ended)
        take()
      }
      const heard = (result: SearchResult) => settle(() => 'cities' in result ? resolve(result.cities) : reject(new Error(result.failure)))
      const failed = (error: Error) => settle(() => reject(error))
      const ended = () => settle(() => reject(new Error('The thread of city searches has ended')))
      worker.on('message', heard).on('error', failed).on('exit', ended)
      worker.postMessage({ ...search })
    })
  }

  #start (): Worker {
    const worker = new Worker(new URL('./search-worker.ts', import.meta.url), { workerData: this.#path })
    worker.unref()
    worker.on('error', () => {}) // reported to the running search
    worker.once('exit', () => { if (this.#worker === worker) this.#worker = undefined })
    return worker
  }
}
