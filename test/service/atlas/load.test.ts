import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { createInterface } from 'node:readline'
import tap, { test } from 'tap'
import { openAtlas } from '../../../service/atlas/atlas.ts'
import { loadAtlas } from '../../../service/atlas/load.ts'
import { seedAtlas } from '../../support/atlas.ts'

tap.setTimeout(180_000) // loads of all cities

const script = join(import.meta.dirname, '../../../service/atlas/load.ts')
const module = new URL('../../../service/atlas/atlas.ts', import.meta.url).href

function startLoad (path: string) {
  const child = spawn(process.execPath, [script, path], { stdio: ['ignore', 'pipe', 'inherit'] })
  return { child, lines: createInterface(child.stdout) }
}

async function finishLoad (path: string) {
  const { child, lines } = startLoad(path)
  const said: string[] = []
  lines.on('line', (line) => said.push(line))
  const [code] = await once(child, 'close')
  return { code, said }
}

async function addUser (path: string, seed: string, name: string): Promise<string> {
  const program = `
    import { openAtlas } from ${JSON.stringify(module)}
    const atlas = openAtlas(${JSON.stringify(path)}, { seed: ${JSON.stringify(seed)} })
    const user = await atlas.users.create(${JSON.stringify(name)}, 'correct horse')
    console.log(user.id)`
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], { stdio: ['ignore', 'pipe', 'inherit'] })
  const [id] = await once(createInterface(child.stdout), 'line')
  await once(child, 'exit')
  return String(id)
}

function markOld (path: string) {
  const database = new DatabaseSync(path)
  database.exec('PRAGMA user_version = -1')
  database.close()
}

test('loads of one atlas: one killed in the middle, two concurrent ones, and one of the complete atlas', async (t) => {
  const path = join(t.testdir(), 'new/folder/atlas.db')
  const { child, lines } = startLoad(path)
  for await (const line of lines) if (line.includes('20,000 of')) break
  child.kill('SIGKILL')
  await once(child, 'exit')

  const loads = await Promise.all([finishLoad(path), finishLoad(path)])

  t.same(loads.map((load) => load.code), [0, 0])
  const [first, ...others] = loads.toSorted((one, other) => other.said.length - one.said.length).map(({ said }) => said)
  await t.test('a load reports its progress', async (t) => {
    t.equal(first?.[1], 'atlas: 20,000 of 135,233 cities')
    t.match(first?.at(-1), /^atlas: 135,233 cities in .*atlas\.db \(/)
  })
  await t.test('of two concurrent loads one works, and the other waits and finds the result', async (t) => {
    t.same(others.map((said) => said.length), [1])
  })
  await t.test('a load after a killed one is complete', async (t) => {
    const atlas = openAtlas(path)
    t.equal(atlas.cities.search({ limit: 200_000 }).length, 135_233)
    t.equal(atlas.cities.search({ q: 'paris', limit: 1 })[0]?.id, 2988507)
    atlas.close()
  })
  await t.test('a load of a complete atlas has nothing to do', async (t) => {
    const { code, said } = await finishLoad(path)
    t.equal(code, 0)
    t.equal(said.length, 1)
    t.same(readdirSync(join(path, '..')), ['atlas.db'])
  })
})

test('a load of an old atlas preserves users and notes, also after a killed attempt', async (t) => {
  const path = join(t.testdir(), 'atlas.db')
  const before = openAtlas(path, { seed: seedAtlas() })
  const ada = await before.users.create('Ada', 'correct horse')
  before.notes.write(2988507, ada, 'Lovely.')
  before.close()
  markOld(path)

  const { child, lines } = startLoad(path)
  for await (const line of lines) if (line.includes('20,000 of')) break
  child.kill('SIGKILL')
  await once(child, 'exit')
  const after = openAtlas(path, { seed: seedAtlas() })

  t.same(after.users.of({ userId: ada.id }), ada)
  t.match(after.notes.of(2988507), [{ author: 'Ada', text: 'Lovely.' }])
  t.equal(after.cities.find(2988507).name, 'Paris')
  after.close()
})

test('a seed is copied only if there is no atlas', async (t) => {
  const path = join(t.testdir(), 'atlas.db')
  const seed = seedAtlas()
  const first = openAtlas(path, { seed })
  const ada = await first.users.create('Ada', 'correct horse')

  const second = openAtlas(path, { seed })

  t.same(second.users.of({ userId: ada.id }), ada)
  t.same(readdirSync(join(path, '..')).filter((file) => file.endsWith('.seed')), [])
  first.close()
  second.close()
})

test('four processes that copy a seed to the same path concurrently lose no writes', async (t) => {
  const path = join(t.testdir(), 'atlas.db')
  const seed = seedAtlas()

  const added = await Promise.all(['Ada', 'Grace', 'Linus', 'Alan'].map((name) => addUser(path, seed, name)))

  const atlas = openAtlas(path)
  t.same(added.map((id) => atlas.users.of({ userId: id }).name), ['Ada', 'Grace', 'Linus', 'Alan'])
  atlas.close()
})

test('a load rejects a file that is not an atlas, and leaves it unchanged', async (t) => {
  const folder = t.testdir({ 'text.db': 'not a database, but long enough to be queried. '.repeat(30) })
  const theirs = join(folder, 'theirs.db')
  const database = new DatabaseSync(theirs)
  database.exec('CREATE TABLE cities (mine TEXT); INSERT INTO cities VALUES (1)')
  const newer = join(folder, 'newer.db')
  writeFileSync(newer, '')
  new DatabaseSync(newer).exec('PRAGMA user_version = 99')

  t.throws(() => loadAtlas(join(folder, 'text.db')), { code: 'PRISM_ERR_ATLAS', message: /text\.db is not usable: file is not a database/ })
  t.throws(() => loadAtlas(theirs), { code: 'PRISM_ERR_ATLAS', message: /it is a database of another program/ })
  t.throws(() => loadAtlas(newer), { code: 'PRISM_ERR_ATLAS', message: /it is of version 99, this program knows 1/ })
  t.equal(database.prepare('SELECT count(*) AS count FROM cities').get()?.count, 1)
  database.close()
})
