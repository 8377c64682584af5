import { createHash } from 'node:crypto'
import { existsSync, mkdtempSync, renameSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { openAtlas, type Atlas } from '../../service/atlas/atlas.ts'
import { loadAtlas } from '../../service/atlas/load.ts'
import { peopleSql, placesSql } from '../../service/atlas/schema.ts'

const shape = createHash('sha256').update(peopleSql + placesSql).digest('hex').slice(0, 12)
const seedPath = join(import.meta.dirname, `../../.data/test-${shape}.db`)

/** The path of a loaded atlas that tests copy and never open; built by the first test that needs it, and complete once it exists. */
export function seedAtlas (): string {
  if (!existsSync(seedPath)) makeSeed()
  return seedPath
}

// Under a temporary name until it is closed: a copy made while its log is written back would be incomplete.
function makeSeed (): void {
  const path = `${seedPath}.${process.pid}`
  const database = loadAtlas(path)
  database.exec('PRAGMA wal_checkpoint(TRUNCATE)')
  database.close()
  renameSync(path, seedPath)
}

/** The path of a test's own atlas with all cities, for the `databasePath` of an app, which then need not load. */
export function atlasPath (t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'atlas-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const path = join(folder, 'atlas.db')
  loadAtlas(path, { seed: seedAtlas() }).close()
  return path
}

/** An atlas of the test's own, with all cities, closed with the test. */
export function testAtlas (t: Test): Atlas {
  const atlas = openAtlas(atlasPath(t))
  t.teardown(() => atlas.close())
  return atlas
}
