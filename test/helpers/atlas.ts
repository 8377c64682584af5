import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { openAtlas, type Atlas } from '../../src/atlas/atlas.ts'
import { loadAtlas } from '../../src/atlas/load.ts'
import { peopleSql, placesSql } from '../../src/atlas/schema.ts'

const shape = createHash('sha256').update(peopleSql + placesSql).digest('hex').slice(0, 12)
const seedPath = join(import.meta.dirname, `../../.data/test-${shape}.db`)

/** The path of a loaded atlas that tests copy and never write to; made by the first test that needs it. */
export function seedAtlas (): string {
  const database = loadAtlas(seedPath)
  database.exec('PRAGMA wal_checkpoint(TRUNCATE)') // whoever loaded it may not have come to that yet, and a copy has no log
  database.close()
  return seedPath
}

/** The path of an atlas of the test's own, with all cities: what an app under test takes as `databasePath`, so that it need not load. */
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
