import { globSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t from 'tap'

const root = join(import.meta.dirname, '../..')

/** One import: of which file, from which module, and whether only types. */
interface Import {
  readonly from: string
  readonly to: string
  readonly isType: boolean
}

const files = globSync(['{bench,plugins,routes,service,src,test}/**/*.ts'], { cwd: root, exclude: ['{bench,test/ecosystem}/node_modules/**'] }).map((file) => file.replaceAll('\\', '/')).sort()
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

/** The published package, and the example service that is deployed. */
const isPackage = (file: string) => /^(plugins|src)\//.test(file)
const isExample = (file: string) => /^(service|routes)\//.test(file)
const isOurs = (file: string) => files.includes(file)

/** The imports that meet a condition and break a rule, as readable text. */
function broken (isMeant: (each: Import) => boolean, isAllowed: (each: Import) => boolean): string[] {
  return imports.filter((each) => isMeant(each) && !isAllowed(each)).map(({ from, to }) => `${from} imports ${to}`)
}

/** `src/cache/lookup/lookup.ts` is in the layer `src/cache`. */
function layerOf (file: string): string {
  return file.split('/').slice(0, 2).join('/')
}

t.test('the package imports nothing of the example service, the tests or the benchmarks', async (t) => {
  t.same(broken(({ from, to }) => isPackage(from) && isOurs(to), ({ to }) => isPackage(to)), [])
})

t.test('a plugin imports src, and of other plugins only types; the stack and the standalone entry points import plugins', async (t) => {
  const assembles = (file: string) => file === 'plugins/index.ts' || file.startsWith('plugins/standalone/')

  t.same(broken(({ from, to }) => from.startsWith('plugins/') && isOurs(to), ({ from, to, isType }) => to.startsWith('src/') || isType || assembles(from)), [])
  t.same(broken(({ from, to }) => from.startsWith('src/') && isOurs(to), ({ to }) => to.startsWith('src/')), [])
})

t.test('src does not import Fastify', async (t) => {
  t.same(broken(({ from }) => from.startsWith('src/'), ({ to }) => to === '@fastify/error' || !/^@?fastify/.test(to)), [])
})

/** What each layer of src may import besides itself and src/shared. */
const below: Readonly<Record<string, readonly string[]>> = {
  'src/shared': [],
  'src/http': [],
  'src/redis': [],
  'src/route-config': [],
  'src/cache': ['src/redis', 'src/http'],
  'src/session': ['src/redis', 'src/http'],
  'src/rate-limit': ['src/redis', 'src/http'],
  'src/events': ['src/redis', 'src/http'],
  'src/live': ['src/redis', 'src/http', 'src/events'],
  'src/metrics': ['src/redis', 'src/http'],
  'src/cli': ['src/redis', 'src/http', 'src/cache', 'src/session', 'src/rate-limit', 'src/metrics']
}

t.test('the layers of src import downwards: cache, session, rate-limit and events do not import each other', async (t) => {
  const unknown = new Set(files.filter((file) => file.startsWith('src/')).map(layerOf).filter((layer) => below[layer] === undefined))
  t.same([...unknown], [])

  t.same(broken(({ from, to }) => from.startsWith('src/') && isOurs(to), ({ from, to }) => [layerOf(from), 'src/shared', ...below[layerOf(from)] ?? []].includes(layerOf(to))), [])
})

t.test('the example imports the package by its public entry points, which package.json exports', async (t) => {
  const { exports }: { exports: Record<string, { default?: string }> } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const entries = Object.values(exports).flatMap(({ default: built }) => built?.replace(/^\.\/dist\/(.*)\.js$/, '$1.ts') ?? [])
  t.same(entries.filter((file) => !isOurs(file)), [])

  t.same(broken(({ from, to }) => isExample(from) && isPackage(to), ({ to }) => entries.includes(to)), [])
})

t.test('the example augments no module of the package', async (t) => {
  t.same(files.filter(isExample).filter((file) => /^declare module '\./m.test(readFileSync(join(root, file), 'utf8'))), [])
})

t.test('the example uses plugins, and routes import only types', async (t) => {
  t.same(broken(({ from, to }) => from.startsWith('routes/') && isOurs(to), ({ from, to, isType }) => isType || (from === 'routes/index.ts' && to.startsWith('routes/'))), [])
  t.same(broken(({ to }) => isExample(to), ({ from }) => isExample(from) || /^(test|bench)\//.test(from)), [])
})

t.test('only tests and benchmarks import test helpers', async (t) => {
  t.same(broken(({ to }) => to.startsWith('bench/'), ({ from }) => /^(bench|test)\//.test(from)), [])
  t.same(broken(({ to }) => to.startsWith('test/'), ({ from, to }) => from.startsWith('test/') || (from.startsWith('bench/') && to.startsWith('test/support/'))), [])
})

t.test('every relative import names a file that exists', async (t) => {
  const missing = imports.filter(({ to }) => /^(bench|plugins|routes|service|src|test)\/.*\.ts$/.test(to) && !isOurs(to))

  t.same(missing.map(({ from, to }) => `${from} imports ${to}`), [])
})

t.test('no imports of the package form a circle, type imports included', async (t) => {
  const next = new Map(files.filter(isPackage).map((file) => [file, imports.filter(({ from, to }) => from === file && isOurs(to)).map(({ to }) => to)]))

  t.same(circles(next), [])
})

/** Follows every import; a file that is met again on the path to it closes a circle. */
function circles (next: ReadonlyMap<string, readonly string[]>): string[] {
  const [found, seen]: [string[], Set<string>] = [[], new Set()]
  const walk = (file: string, path: readonly string[]): void => {
    if (path.includes(file)) found.push([...path.slice(path.indexOf(file)), file].join(' → '))
    if (seen.has(file)) return
    seen.add(file)
    for (const each of next.get(file) ?? []) walk(each, [...path, file])
  }
  for (const file of next.keys()) walk(file, [])
  return found
}

t.test('ARCHITECTURE.md lists every folder of the package and of the example', async (t) => {
  const text = readFileSync(join(root, 'ARCHITECTURE.md'), 'utf8')
  const listed = [...text.matchAll(/^\| `([\w./-]+)\/` \|/gm)].map(([, name = '']) => name)
  const folders = new Set(globSync('{plugins,routes,service,src,tools}/**/*.{ts,lua,mjs,js,html,css,json}', { cwd: root, exclude: ['tools/**/node_modules/**', 'service/node_modules/**'] }).map((file) => dirname(file).replaceAll('\\', '/')))

  t.same([...folders].filter((name) => !listed.includes(name)).sort(), [])
  t.same(listed.filter((name) => !folders.has(name)).sort(), [])
})
