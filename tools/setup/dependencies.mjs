import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { SetupError, run, say } from './run.mjs'

const offline = `Is this machine offline, or behind a proxy ("npm config set proxy …")? "npm ping" tells whether the registry responds.
Is the disk full, or this folder not writable for you? Then free it, or clone into a folder of your own.`

/** What `npm start` needs; without a list npm installs all workspaces. */
// By name: the path of a workspace selects those in its folder, too.
const startWorkspaces = ['--workspace=service-only', '--workspace=start-only', '--include-workspace-root']
const tracingProbe = join('node_modules', '@opentelemetry', 'sdk-trace-node')

/** Installs the project's packages, those for development and for traces only where chosen, and checks that a Node for it runs. */
export async function bringDependencies (root, { withDev }) {
  const withTracing = withDev || Boolean(process.env.OTEL_EXPORTER_OTLP_ENDPOINT)
  await installPackages(root, { megabytes: withDev ? 200 : 60, withDev, withTracing, workspaces: startWorkspaces, check: () => workingNode(root) }) // throws if none runs
}

/** Installs the packages of a folder's lock file if they are missing or differ. What is installed beyond the wanted packages is kept. */
export async function installPackages (root, { megabytes, withDev = true, withTracing = false, workspaces = [], check = () => {} }) {
  const stamp = readStamp(root)
  const wanted = { installed: fingerprint(root), withDev: withDev || hasDev(root), withTracing: withTracing || existsSync(join(root, tracingProbe)) }
  const isStamped = stamp.installed === wanted.installed && (stamp.withDev || !wanted.withDev) && (stamp.withTracing || !wanted.withTracing)
  if (!isStamped && !isInstalled(root, wanted)) await install(root, { ...wanted, workspaces, megabytes })
  check()
  if (!isStamped) writeStamp(root, wanted)
}

/** The Node for the project: the installed dependency, or the current one if it is new enough. */
export function workingNode (root) {
  const own = Number(process.versions.node.split('.')[0]) >= 24
  const brought = join(root, 'node_modules', '.bin', process.platform === 'win32' ? 'node.cmd' : 'node')
  if (runs(brought)) return brought
  // Built for another C library or CPU: it would precede the current Node on the PATH of every npm script.
  if (own) rmSync(brought, { force: true })
  if (own) return process.execPath
  throw new SetupError(`Node 24 or later is needed, here is ${process.versions.node}, and the one from the registry does not run on ${process.platform}-${process.arch}.`,
    'Install Node 24: on Debian from https://nodejs.org or nodesource, on Alpine "apk add nodejs", on macOS "brew install node@24", on Windows "winget install OpenJS.NodeJS".')
}

function runs (program) {
  if (!existsSync(program)) return false
  try {
    execFileSync(program, ['--version'], { stdio: 'ignore', shell: process.platform === 'win32' })
    return true
  } catch {
    return false
  }
}

async function install (root, { withDev, withTracing, workspaces, megabytes }) {
  say(`installing packages with npm${withDev ? '' : ', without those for development'} (about ${megabytes} MB)`)
  const startedAt = Date.now()
  // "ci" removes the packages first. Where some are missing and none differs, a service may be running on those that are here.
  const command = isInstalled(root, { withDev: false }) ? ['install', '--no-save'] : ['ci']
  rmSync(stampPath(root), { force: true })
  const scope = withDev ? ['--include=dev'] : ['--omit=dev', ...workspaces, ...withTracing ? ['--workspace=tracing-only'] : []]
  const [program, first] = process.env.npm_execpath ? [process.execPath, [process.env.npm_execpath]] : ['npm', []]
  await run(program, [...first, ...command, ...scope, '--include=optional', '--include=peer', '--ignore-scripts', '--no-audit', '--no-fund', '--prefer-offline', '--fetch-retries=4', '--fetch-retry-mintimeout=1000', '--fetch-retry-maxtimeout=5000', '--loglevel=http'], {
    cwd: root,
    env: quietEnvironment(),
    advice: offline,
    progress: installProgress,
    isHopeless: isUnreachable
  })
  say(`installed in ${((Date.now() - startedAt) / 1000).toFixed(1)} s`)
}

// npm logs its requests to the registry: first for a package's metadata, then for the package.
function installProgress (output) {
  const { lookedUp, fetched, failed } = registryRequestsOf(output)
  return `installing, ${lookedUp} looked up, ${fetched} fetched${failed > 0 ? `, ${failed} attempts failed` : ''}`
}

// Without a network npm would retry each package several times, for minutes.
function isUnreachable (output) {
  const { lookedUp, fetched, failed } = registryRequestsOf(output)
  return failed > 15 && lookedUp + fetched === 0
}

function registryRequestsOf (output) {
  const count = pattern => (output.match(pattern) ?? []).length
  const fetched = count(/^npm http fetch GET 200 \S+\.tgz/gm)
  return { fetched, lookedUp: count(/^npm http (?:fetch GET 200|cache) /gm) - fetched, failed: count(/^npm http fetch .*attempt \d+ failed/gm) }
}

// npm's environment for this script must not reach the npm that is started here.
function quietEnvironment () {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^npm_(lifecycle|package|command|config_(omit|production|only|local_prefix))/i.test(name)))
}

/** Whether npm itself installed exactly the lock file's packages: then a developer's own `npm install` is not undone. */
function isInstalled (root, { withDev, withTracing = false }) {
  const hidden = installedPackages(root)
  if (!hidden || (withTracing && !existsSync(join(root, tracingProbe)))) return false
  return Object.entries(wantedPackages(root, withDev)).every(([path, { version, optional, devOptional }]) => {
    const found = hidden[path]
    return found ? found.version === version : Boolean(optional || devOptional)
  })
}

/** Whether packages for development are installed, of this lock file or an older one. */
function hasDev (root) {
  return Object.values(installedPackages(root) ?? {}).some(({ dev }) => dev)
}

function installedPackages (root) {
  return readJson(join(root, 'node_modules', '.package-lock.json'))?.packages
}

function wantedPackages (root, withDev) {
  const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'))
  return Object.fromEntries(Object.entries(packages).filter(([path, { dev, link }]) => path.includes('node_modules') && !link && (withDev || !dev)))
}

function fingerprint (root) {
  return createHash('sha256').update(readFileSync(join(root, 'package-lock.json'))).update(`${process.platform} ${process.arch}`).digest('hex')
}

function stampPath (root) {
  return join(root, 'node_modules', '.prism-setup.json')
}

function readStamp (root) {
  return readJson(stampPath(root)) ?? {}
}

function writeStamp (root, stamp) {
  try {
    writeFileSync(stampPath(root), JSON.stringify(stamp))
  } catch (error) {
    if (error.code !== 'EROFS' && error.code !== 'EACCES') throw error // read-only, and complete: checked again next time
  }
}

function readJson (path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'))
  } catch {
    return undefined
  }
}
