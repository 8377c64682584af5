import { execFileSync } from 'node:child_process'
import { accessSync, constants, existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { SetupError, run, say } from './run.mjs'

const statusField = '$' + '{db:Status-Status}' // dpkg's own braces
const advice = `Any one of these helps:
  Debian, Ubuntu   apt-get install redis-server
  macOS            brew install redis
  Windows          use WSL, or a Redis elsewhere
  anywhere         REDIS_URL=redis://host:6379 (a Redis 7 or newer that runs already; tests still want a program of their own)
                   REDIS_SERVER_BIN=/path/to/redis-server`

/** Whether there is a Redis, or a program that starts one, in the search order of service/dev-redis/find-binary.ts. */
export function hasRedis (root) {
  const { REDIS_URL, REDIS_SERVER_BIN, PATH = '' } = process.env
  if (REDIS_URL || REDIS_SERVER_BIN) return true
  const names = ['redis-server', 'valkey-server'].map(name => process.platform === 'win32' ? `${name}.exe` : name)
  return PATH.split(delimiter).some(folder => names.some(name => isProgram(join(folder, name)))) || works(join(root, '.redis', 'server'))
}

/** Unpacks Debian's Redis server with the missing libraries to `.redis/server`; needs no root. */
export async function bringRedis (root) {
  if (!['apt-get', 'apt-cache', 'dpkg', 'dpkg-query'].every(isOnPath)) throw new SetupError('There is no redis-server on this machine, and no apt-get to bring one.', advice)
  const startedAt = Date.now()
  const work = join(root, '.redis', `work-${process.pid}`)
  for (const name of leftovers(root)) rmSync(join(root, '.redis', name), { recursive: true, force: true })
  mkdirSync(join(work, 'debs'), { recursive: true })
  try {
    say('bringing a Redis server from Debian\'s packages (about 1 MB) to .redis/, as there is none on PATH')
    await unpackServer(work)
    rmSync(join(root, '.redis', 'server'), { recursive: true, force: true })
    renameSync(join(work, 'server'), join(root, '.redis', 'server'))
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
  say(`Redis is here (${((Date.now() - startedAt) / 1000).toFixed(1)} s)`)
}

async function unpackServer (work) {
  const server = join(work, 'server')
  const apt = await fetchable(work)
  await unpack(work, server)
  if (works(server)) return
  const libraries = await missingLibraries(apt)
  say(`bringing ${libraries.length} libraries for it`)
  await download(work, apt, libraries)
  await unpack(work, server)
  if (!works(server)) throw new SetupError('The Redis server of the Debian packages does not start here.', advice)
}

/** Downloads the server with the machine's package lists or, if those are empty or old, with fresh ones. Returns the options for apt. */
async function fetchable (work) {
  const plain = ['-o', 'APT::Sandbox::User=root']
  try {
    await download(work, plain, ['redis-server', 'redis-tools'])
    return plain
  } catch {
    say('the machine\'s package lists are empty or old, fetching fresh ones (about 10 MB)')
  }
  const lists = join(work, 'lists')
  mkdirSync(join(lists, 'partial'), { recursive: true })
  mkdirSync(join(work, 'cache', 'archives', 'partial'), { recursive: true })
  const own = [...plain, '-o', `Dir::State::lists=${lists}`, '-o', `Dir::Cache=${join(work, 'cache')}`]
  await run('apt-get', [...own, 'update'], { cwd: work, advice, progress: () => 'fetching package lists' })
  await download(work, own, ['redis-server', 'redis-tools'])
  return own
}

async function download (work, apt, packages) {
  await run('apt-get', [...apt, 'download', ...packages], { cwd: join(work, 'debs'), advice, progress: () => `downloading ${packages.join(', ')}` })
}

async function unpack (work, server) {
  for (const deb of readdirSync(join(work, 'debs'))) await run('dpkg', ['-x', join(work, 'debs', deb), server], { advice, progress: () => `unpacking ${deb}` })
}

// Not the C library: one that does not match the machine's loader crashes every program.
async function missingLibraries (apt) {
  const kinds = ['recommends', 'suggests', 'conflicts', 'breaks', 'replaces', 'enhances'].map(kind => `--no-${kind}`)
  const closure = await run('apt-cache', [...apt, 'depends', '--recurse', ...kinds, 'redis-tools'], { advice, progress: () => 'looking up libraries' })
  const libraries = closure.split('\n').filter(line => /^lib[^c:][^:]*$|^libc[^:0-9][^:]*$/.test(line) && !line.startsWith('libcrypt1'))
  return [...new Set(libraries)].filter(name => !isInstalled(name))
}

function isInstalled (name) {
  try {
    return execFileSync('dpkg-query', ['-W', '-f', statusField, name], { stdio: ['ignore', 'pipe', 'ignore'] }).includes('installed')
  } catch {
    return false
  }
}

/** Whether the unpacked server runs on this machine. */
function works (server) {
  const folders = ['usr/lib', 'lib'].map(name => join(server, name)).filter(existsSync).flatMap(folder => [folder, ...readdirSync(folder).map(name => join(folder, name))])
  try {
    execFileSync(join(server, 'usr', 'bin', 'redis-server'), ['--version'], { stdio: 'ignore', env: { ...process.env, LD_LIBRARY_PATH: folders.join(delimiter) } })
    return true
  } catch {
    return false
  }
}

function leftovers (root) {
  return existsSync(join(root, '.redis')) ? readdirSync(join(root, '.redis')).filter(name => name.startsWith('work-')) : []
}

function isOnPath (name) {
  return (process.env.PATH ?? '').split(delimiter).some(folder => isProgram(join(folder, name)))
}

function isProgram (path) {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
