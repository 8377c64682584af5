import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** What does not work, why, and how the start tells it. */
export interface Exception { what: string, why: string, told?: string }

/** One row of docs/compatibility.md. */
export interface Row {
  packages: readonly string[]
  order: string
  works: readonly string[]
  fails: readonly Exception[]
}

/** Hands a row to the command that makes the table; a file that runs alone has none. */
export function writeRow (row: Row): void {
  const { ECOSYSTEM_ROWS: folder } = process.env
  if (folder) writeFileSync(join(folder, `${createHash('sha256').update(row.packages.join() + row.order).digest('hex')}.json`), JSON.stringify(row))
}

/** The version of a package that is installed for the suite. */
export function versionOf (name: string): string {
  try {
    return JSON.parse(readFileSync(join(import.meta.dirname, '../node_modules', name, 'package.json'), 'utf8')).version
  } catch {
    return ''
  }
}
