import { mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { AtlasError } from '../errors.ts'
import { schemaVersion } from './schema.ts'

const patienceMs = 30_000

/**
 * Opens the file for reading and writing together with other processes; creates folder and file if missing.
 *
 * @throws {AtlasError} PRISM_ERR_ATLAS if the file is unusable: not a database, of a newer version, or of another application.
 */
export function openDatabase (path: string): DatabaseSync {
  try {
    mkdirSync(dirname(path), { recursive: true })
    return prepared(new DatabaseSync(path, { timeout: patienceMs, enableForeignKeyConstraints: true }))
  } catch (error) {
    throw new AtlasError(path, error instanceof Error ? error.message : String(error))
  }
}

/** The schema version of an open database; 0 if nothing was loaded yet. */
export function versionOf (database: DatabaseSync): number {
  return Number(database.prepare('PRAGMA user_version').get()?.user_version)
}

/** Runs `work` in one write transaction that locks at once, so that two processes queue and never deadlock. */
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
    rejectForeignDatabase(database)
    useWal(database)
    return database
  } catch (error) {
    database.close()
    throw error
  }
}

function rejectForeignDatabase (database: DatabaseSync): void {
  database.exec('BEGIN')   // both reads in one transaction: another process can finish its load in between
  const version = versionOf(database)
  const table = database.prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' LIMIT 1").get()
  database.exec('COMMIT')

  if (version > schemaVersion) throw new Error(`it is of version ${version}, this program knows ${schemaVersion}`)
  if (version === 0 && table) throw new Error('it is a database of another program')
}

// If two processes switch an empty file to WAL concurrently, SQLite returns "locked" to one of them without its timeout.
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
