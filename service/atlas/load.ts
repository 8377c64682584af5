import { randomUUID } from 'node:crypto'
import { constants, copyFileSync, existsSync, linkSync, mkdirSync, rmSync } from 'node:fs'
import { dirname } from 'node:path'
import type { DatabaseSync } from 'node:sqlite'
import { AtlasError } from '../errors.ts'
import { inTransaction, openDatabase, versionOf } from './database.ts'
import { peopleSql, placesSql, schemaVersion } from './schema.ts'
import { readPackage, readSeed, type SourceCity } from './source.ts'
import { plainSpelling } from './spelling.ts'

/** Source and progress of a load. */
export interface LoadOptions {
  /** atlas built earlier, for example in a Docker build stage: copied if `path` is missing, read if `path` is of an older version */
  seed?: string | undefined
  /** called with the number of stored cities, from 0 to the total */
  progress?: (stored: number, total: number) => void
}

/**
 * Opens the atlas at `path`, and loads its cities first if they are missing or of an older version.
 *
 * A load is one transaction: an interruption at any moment changes nothing, and of two concurrent loads
 * the second waits for the first and then has nothing to do. Users and notes are never changed.
 *
 * @throws {AtlasError} PRISM_ERR_ATLAS if the file is unusable or there is no source.
 */
export function loadAtlas (path: string, options: LoadOptions = {}): DatabaseSync {
  if (options.seed !== undefined) placeSeed(options.seed, path)
  const database = openDatabase(path)
  try {
    if (versionOf(database) < schemaVersion) fill(database, options)
    return database
  } catch (error) {
    database.close()
    throw new AtlasError(path, error instanceof Error ? error.message : String(error))
  }
}

// A link, not a rename: a rename would replace a file to which another process has already written.
function placeSeed (seed: string, path: string): void {
  if (existsSync(path) || !existsSync(seed)) return
  const copy = `${path}.${randomUUID()}.seed`
  mkdirSync(dirname(path), { recursive: true })
  try {
    copyFileSync(seed, copy, constants.COPYFILE_FICLONE)
    linkSync(copy, path)
  } catch {
    // The file exists already, or the file system has no links: the seed is read row by row.
  } finally {
    rmSync(copy, { force: true })
  }
}

function fill (database: DatabaseSync, { seed, progress }: LoadOptions): void {
  const cities = seed !== undefined && existsSync(seed) ? readSeed(seed) : readPackage()
  database.exec('PRAGMA cache_size = -65536')
  inTransaction(database, () => {
    if (versionOf(database) >= schemaVersion) return
    database.exec(peopleSql)
    database.exec(placesSql)
    storeAll(database, cities, progress)
    database.exec(`INSERT INTO city_names (city_names) VALUES ('optimize'); PRAGMA user_version = ${schemaVersion}`)
  })
  database.exec('PRAGMA cache_size = -2000; PRAGMA wal_checkpoint(TRUNCATE)')
}

function storeAll (database: DatabaseSync, cities: SourceCity[], progress: LoadOptions['progress']): void {
  const store = rowWriter(database)
  for (const [index, city] of cities.entries()) {
    if (index % 20_000 === 0) progress?.(index, cities.length)
    store(index + 1, city)
  }
  progress?.(cities.length, cities.length)
}

function rowWriter (database: DatabaseSync): (rank: number, city: SourceCity) => void {
  const row = database.prepare('INSERT INTO cities VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)')
  const names = database.prepare('INSERT INTO city_names (rowid, name, plain) VALUES (?, ?, ?)')
  const place = database.prepare('INSERT INTO city_places VALUES (?, ?, ?, ?, ?)')
  return (rank, { id, name, country, admin, feature, population, lat, lon }) => {
    row.run(rank, id, name, country, admin, feature, population, lat, lon)
    names.run(rank, name, plainSpelling(name))
    place.run(rank, lat, lat, lon, lon)
  }
}

/** `node service/atlas/load.ts [path]`: loads the atlas and prints the progress; returns at once if it is loaded. */
function main (path = '.data/atlas.db'): void {
  const startedAt = Date.now()
  const progress = (stored: number, total: number) => console.log(`atlas: ${stored.toLocaleString('en')} of ${total.toLocaleString('en')} cities`)
  const database = loadAtlas(path, { progress })
  const count = Number(database.prepare('SELECT count(*) AS count FROM cities').get()?.count)
  database.close()
  console.log(`atlas: ${count.toLocaleString('en')} cities in ${path} (${((Date.now() - startedAt) / 1000).toFixed(1)} s)`)
}

if (import.meta.main) main(process.argv[2])
