// Builds dist/, the published package: one JavaScript file for the stack and its parts, one for each other entry point, with what these share in chunks/, declarations of every module, the unchanged Lua scripts and the browser client.
import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { build } from 'esbuild'

const root = join(import.meta.dirname, '..')
const dist = join(root, 'dist')
const { files: entryPoints } = JSON.parse(readFileSync(join(root, 'tsconfig.build.json'), 'utf8'))
// The stack and its parts: they share nearly all of their modules, so that one file starts sooner than the forty that they would have in common.
const ofStack = ['plugins/index.ts', 'plugins/events.ts', 'plugins/redis.ts', 'plugins/standalone/cache.ts', 'plugins/standalone/problem.ts', 'plugins/standalone/rate-limit.ts', 'plugins/standalone/session.ts']
const options = {
  absWorkingDir: root,
  outdir: dist,
  outbase: root,
  chunkNames: 'chunks/[name]-[hash]',
  bundle: true,
  splitting: true,
  write: false,
  metafile: true,
  packages: 'external',
  format: 'esm',
  platform: 'node',
  target: 'node24',
  charset: 'utf8',
  logLevel: 'warning'
}

rmSync(dist, { recursive: true, force: true })
const { status } = spawnSync(process.execPath, [join(root, 'node_modules', 'typescript', 'bin', 'tsc'), '--project', 'tsconfig.build.json'], { cwd: root, stdio: 'inherit' })
await bundle()
for (const name of readdirSync(join(root, 'src'), { recursive: true }).filter(name => /\.(?:lua|js)$/.test(name))) {
  const target = join(dist, 'src', name)
  if (existsSync(dirname(target))) cpSync(join(root, 'src', name), target)
}
process.exitCode = status ?? 1

// One file is read and compiled in a fraction of the time of its hundred modules.
async function bundle () {
  const exported = await exportsOfStack()
  const contents = exported.map(({ entry, names }) => `export { ${names.map(name => `${name} as ${nameInStack(entry, name)}`).join(', ')} } from './${entry}'`).join('\n')
  const stack = {
    name: 'stack',
    setup ({ onResolve, onLoad }) {
      onResolve({ filter: /^stack$/ }, () => ({ path: 'stack', namespace: 'stack' }))
      onLoad({ filter: /./, namespace: 'stack' }, () => ({ contents, resolveDir: root }))
    }
  }
  const sources = { name: 'sources', setup: ({ onLoad }) => onLoad({ filter: /\.ts$/ }, ({ path }) => ({ contents: withHttpAsObject(withNamedFiles(path)), loader: 'ts' })) }
  const others = entryPoints.filter(entry => !ofStack.includes(entry)).map(entry => ({ in: entry, out: entry.replace(/\.ts$/, '') }))

  const { outputFiles } = await build({ ...options, entryPoints: [{ in: 'stack', out: 'chunks/stack' }, ...others], plugins: [stack, sources] })
  for (const { path, text } of outputFiles) writeOutput(path, withRelativeFiles(path, text))
  for (const { entry, names } of exported) {
    const path = join(dist, entry.replace(/\.ts$/, '.js'))
    writeOutput(path, `export { ${names.map(name => `${nameInStack(entry, name)} as ${name}`).join(', ')} } from '${relative(dirname(path), join(dist, 'chunks', 'stack.js')).replaceAll('\\', '/')}'\n`)
  }
}

async function exportsOfStack () {
  const { metafile: { outputs } } = await build({ ...options, entryPoints: ofStack })
  return Object.values(outputs).filter(({ entryPoint }) => ofStack.includes(entryPoint)).map(({ entryPoint, exports }) => ({ entry: entryPoint, names: exports }))
}

// Two entry points may export the same name for different things, as each does with `default`.
function nameInStack (entry, name) {
  return `${entry.slice(entry.lastIndexOf('/') + 1, -3).replaceAll('-', '_')}_${name}`
}

function writeOutput (path, text) {
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, text)
}

// A module opens a file beside it by its own URL, and its code moves to another folder: the file is named by its path in the package, then relative to the output.
function withNamedFiles (path) {
  return readFileSync(path, 'utf8').replace(/new URL\('(\.[^']+)', import\.meta\.url\)/g, (_match, name) => `new URL("package:${relative(root, join(dirname(path), name)).replaceAll('\\', '/')}", import.meta.url)`)
}

// An import of node:http as an ES module reads each of its exports, and with WebSocket loads undici: about 10 ms of CPU at each start.
function withHttpAsObject (source) {
  return source.replace(/^import (\{[^}]*\}) from 'node:http'$/gm, (_match, names) => `const ${names.replaceAll(' as ', ': ')} = process.getBuiltinModule('node:http')`)
}

function withRelativeFiles (path, text) {
  return text.replace(/new URL\("package:([^"]+)", import\.meta\.url\)/g, (_match, name) => `new URL("${relative(dirname(path), join(dist, name)).replaceAll('\\', '/')}", import.meta.url)`)
}
