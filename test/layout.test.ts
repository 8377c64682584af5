import { globSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t from 'tap'

const root = join(import.meta.dirname, '..')

/** One import: which file, of what, and whether only its types. */
interface Import {
  readonly from: string
  readonly to: string
  readonly isType: boolean
}

const files = globSync(['*.ts', '{bench,entries,plugins,routes,service,src,test}/**/*.ts'], { cwd: root }).map((file) => file.replaceAll('\\', '/')).sort()
const imports = files.flatMap(importsOf)

function importsOf (file: string): Import[] {
  const text = readFileSync(join(root, file), 'utf8')
  const statements = text.matchAll(/^(?:import|export)(?<type> type)? (?:[\w*{][^'"`;]*? from )?'(?<name>[^']+)'/gm)
  const others = text.matchAll(/\bimport\('(?<name>[^']+)'\)/g)
  return [...statements, ...others].map(({ groups = {} }) => ({ from: file, to: pathOf(file, groups.name ?? ''), isType: groups.type !== undefined }))
}

function pathOf (file: string, name: string): string {
  return name.startsWith('.') ? join(dirname(file), name).replaceAll('\\', '/') : name
}

/** `src/cache/key.ts` is in `src/cache`, `src/errors.ts` is its own, `plugins/live.ts` is in `plugins`. */
function roomOf (file: string): string {
  return file.split('/').slice(0, file.startsWith('src/') ? 2 : 1).join('/')
}

/** Imports that break a rule, as a reader would look for them. */
function broken (isMeant: (each: Import) => boolean, isFine: (each: Import) => boolean): string[] {
  return imports.filter((each) => isMeant(each) && !isFine(each)).map(({ from, to }) => `${from} imports ${to}`)
}

const isOurs = (to: string) => files.includes(to)
const stands = (file: string, ...rooms: string[]) => rooms.includes(roomOf(file))

t.test('layout goes down from server over app to plugins, routes and src', async (t) => {
  t.same(broken(({ to }) => to === 'server.ts', () => false), [])
  t.same(broken(({ to }) => to === 'app.ts', ({ from }) => from === 'server.ts' || stands(from, 'test', 'bench')), [])
  t.same(broken(({ from, to }) => from === 'server.ts' && isOurs(to), ({ to }) => to === 'app.ts' || to.startsWith('src/')), [])
  t.same(broken(({ from, to }) => from === 'app.ts' && isOurs(to), ({ to }) => stands(to, 'plugins') || to === 'routes/index.ts' || to.startsWith('src/')), [])
  t.same(broken(({ to }) => stands(to, 'routes'), ({ from }) => from === 'app.ts' || stands(from, 'routes', 'test')), [])
  t.same(broken(({ to }) => stands(to, 'plugins'), ({ from }) => from === 'app.ts' || stands(from, 'plugins', 'entries', 'routes', 'test', 'bench')), [])
})

t.test('layout lets the programs of operators import src, and nobody import them', async (t) => {
  const programs = ['cli.ts', 'operator.ts']

  t.same(broken(({ from, to }) => programs.includes(from) && isOurs(to), ({ to }) => to.startsWith('src/') || to === 'service/alert-command.ts'), [])
  t.same(broken(({ to }) => programs.includes(to), ({ from }) => stands(from, 'test')), [])
  t.same(broken(({ to }) => stands(to, 'src/cli'), ({ from }) => programs.includes(from) || stands(from, 'src/cli', 'service', 'test')), [])
})

t.test('layout lets a plugin import src, and of other plugins their types alone, index and the entries excepted', async (t) => {
  t.same(broken(({ from, to }) => stands(from, 'plugins') && isOurs(to), ({ from, to, isType }) => to.startsWith('src/') || (stands(to, 'plugins') && (isType || from === 'plugins/index.ts'))), [])
  t.same(broken(({ from, to }) => stands(from, 'entries') && isOurs(to), ({ to, isType }) => stands(to, 'plugins', 'entries') || (isType && to.startsWith('src/'))), [])
  t.same(broken(({ to }) => stands(to, 'entries'), ({ from }) => stands(from, 'entries', 'test')), [])
})

t.test('layout lets a route import nothing of ours but types', async (t) => {
  t.same(broken(({ from, to }) => stands(from, 'routes') && isOurs(to), ({ from, isType }) => isType || from === 'routes/index.ts'), [])
  t.same(broken(({ from, to }) => from === 'routes/index.ts' && isOurs(to), ({ to, isType }) => isType || stands(to, 'routes')), [])
})

t.test('layout keeps Fastify out of src', async (t) => {
  t.same(broken(({ from }) => from.startsWith('src/'), ({ to }) => to === '@fastify/error' || !/^@?fastify/.test(to)), [])
})

/** What the rooms of src may import; each of them imports errors and options, and errors nothing. */
const below: Readonly<Record<string, readonly string[]>> = {
  'src/errors.ts': [],
  'src/options.ts': [],
  'src/histogram.ts': [],
  'src/recent.ts': [],
  'src/returned.ts': [],
  'src/decorators.ts': [],
  'src/log.ts': [],
  'src/json.ts': [],
  'src/http': [],
  'src/route-config': [],
  'src/redis': ['src/histogram.ts'],
  'src/config.ts': ['src/http', 'src/redis', 'src/alerts'],
  'src/cache': ['src/redis', 'src/http', 'src/recent.ts', 'src/returned.ts'],
  'src/session': ['src/redis', 'src/http', 'src/recent.ts', 'src/json.ts'],
  'src/limit': ['src/redis', 'src/http', 'src/recent.ts', 'src/returned.ts'],
  'src/events': ['src/redis', 'src/http', 'src/json.ts'],
  'src/live': ['src/redis', 'src/http', 'src/events'],
  'src/metrics': ['src/redis', 'src/http', 'src/histogram.ts'],
  'src/alerts': ['src/redis', 'src/http', 'src/metrics', 'src/histogram.ts'],
  'src/ops': ['src/redis', 'src/http', 'src/cache', 'src/metrics', 'src/alerts', 'src/histogram.ts'],
  'src/cli': ['src/config.ts', 'src/redis', 'src/http', 'src/cache', 'src/session', 'src/limit', 'src/metrics', 'src/alerts', 'src/ops'],
  'src/atlas': []
}

t.test('layout keeps the rooms of src apart: cache, session, limit and events know only what stands below them', async (t) => {
  const unknown = new Set(files.filter((file) => file.startsWith('src/')).map(roomOf).filter((room) => below[room] === undefined))
  t.same([...unknown], [])

  t.same(broken(({ from, to }) => from.startsWith('src/') && isOurs(to), ({ from, to }) => {
    const [own, other] = [roomOf(from), roomOf(to)]
    const everywhere = own === 'src/errors.ts' ? [] : ['src/errors.ts', 'src/options.ts']
    return own === other || [...everywhere, ...below[own] ?? []].includes(other)
  }), [])
})

t.test('layout lets nobody import tests or benchmarks, but benchmarks the helpers that start a Redis and break its network', async (t) => {
  t.same(broken(({ to }) => stands(to, 'bench'), ({ from }) => stands(from, 'bench', 'test')), [])
  t.same(broken(({ to }) => stands(to, 'test'), ({ from, to }) => stands(from, 'test') || (stands(from, 'bench') && to.startsWith('test/helpers/'))), [])
})

t.test('layout imports only files that are there', async (t) => {
  const missing = imports.filter(({ to }) => /^(bench|entries|plugins|routes|src|test)\/.*\.ts$/.test(to) && !isOurs(to))

  t.same(missing.map(({ from, to }) => `${from} imports ${to}`), [])
})

t.test('layout has no circle of imports in src', async (t) => {
  const next = new Map(files.filter((file) => file.startsWith('src/')).map((file) => [file, imports.filter(({ from, to, isType }) => from === file && !isType && isOurs(to)).map(({ to }) => to)]))

  t.same(circles(next), [])
})

/** Walks along all imports; a file that is met again on its own way closes a circle. */
function circles (next: ReadonlyMap<string, readonly string[]>): string[] {
  const [found, seen]: [string[], Set<string>] = [[], new Set()]
  const walk = (file: string, way: readonly string[]): void => {
    if (way.includes(file)) found.push([...way.slice(way.indexOf(file)), file].join(' → '))
    if (seen.has(file)) return
    seen.add(file)
    for (const each of next.get(file) ?? []) walk(each, [...way, file])
  }
  for (const file of next.keys()) walk(file, [])
  return found
}

t.test('layout describes each of its files in ARCHITECTURE.md, and none besides', async (t) => {
  const text = readFileSync(join(root, 'ARCHITECTURE.md'), 'utf8')
  const listed = [...text.matchAll(/^\| `([\w./-]+\.\w+)` \|/gm)].map(([, name = '']) => name)
  const kept = globSync(['*.ts', '{entries,plugins,routes,service,src,tools}/**/*.{ts,lua,mjs,js,html,css}'], { cwd: root, exclude: ['tools/**/node_modules/**'] }).map((file) => file.replaceAll('\\', '/'))

  t.same(kept.filter((file) => !listed.includes(file)).sort(), [])
  t.same(listed.filter((file) => !kept.includes(file)).sort(), [])
})
