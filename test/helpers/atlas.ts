import { createHash } from 'node:crypto'
import { join } from 'node:path'
import type { Test } from 'tap'
import { openAtlas, type Atlas } from '../../src/atlas/atlas.ts'
import { loadAtlas } from '../../src/atlas/load.ts'
import { peopleSql, placesSql } from '../../src/atlas/schema.ts'

const shape = createHash('sha256').update(peopleSql + placesSql).digest('hex').slice(0, 12)
const seedPath = join(import.meta.dirname, `../../.data/test-${shape}.db`)

/** The path of a loaded atlas that tests copy and never write to; made by the first test that needs it. */
export function seedAtlas (): string {
  loadAtlas(seedPath).close()
  return seedPath
}

/** An atlas of the test's own, with all cities, closed with the test. */
export function testAtlas (t: Test): Atlas {
  const atlas = openAtlas(join(t.testdir(), 'atlas.db'), { seed: seedAtlas() })
  t.teardown(() => atlas.close())
  return atlas
}
