import { mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { AtlasError } from '../errors.ts'
import { schemaVersion } from './schema.ts'

const patienceMs = 30_000

/**
 * Opens the file for reading and writing beside other processes, making its folder and the file where missing.
 *
 * @throws {AtlasError} PRISM_ERR_ATLAS when the file cannot be used: not a database, of a newer version, somebody else's.
 */
export function openDatabase (path: string): DatabaseSync {
  try {
    mkdirSync(dirname(path), { recursive: true })
    return prepared(new DatabaseSync(path, { timeout: patienceMs, enableForeignKeyConstraints: true }))
  } catch (error) {
    throw new AtlasError(path, error instanceof Error ? error.message : String(error))
  }
}

/** The schema version of an open database; 0 when nothing was loaded yet. */
export function versionOf (database: DatabaseSync): number {
  return Number(database.prepare('PRAGMA user_version').get()?.user_version)
}

/** Runs `work` in one write transaction, taken at once, so that two processes queue here and never deadlock. */
export function inTransaction<Result> (database: DatabaseSync, work: () => Result): Result {
  database.exec('BEGIN IMMEDIATE')
  try {
    const result = work()
    database.exec('COMMIT')
    return result
  } catch (error) {
    if (database.isTransaction) database.exec('ROLLBACK')
    throw error
  }
}

function prepared (database: DatabaseSync): DatabaseSync {
  try {
    refuseStrangers(database)
    useWal(database)
    return database
  } catch (error) {
    database.close()
    throw error
  }
}

function refuseStrangers (database: DatabaseSync): void {
  database.exec('BEGIN')   // both reads of one moment: another process may be finishing its load
  const version = versionOf(database)
  const table = database.prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' LIMIT 1").get()
  database.exec('COMMIT')

  if (version > schemaVersion) throw new Error(`it is of version ${version}, this program knows ${schemaVersion}`)
  if (version === 0 && table) throw new Error('it is a database of another program')
}

// Two processes that switch an empty file to WAL at once: SQLite tells one of them "locked" without waiting out its timeout.
function useWal (database: DatabaseSync): void {
  const deadline = Date.now() + patienceMs
  for (;;) {
    try {
      database.exec('PRAGMA journal_mode = WAL')
      return
    } catch (error) {
      if (!/locked|busy/.test(String(error)) || Date.now() > deadline) throw error
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20)
    }
  }
}
