import { spawn } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Test } from 'tap'
import { redisUrl, secret } from './app.ts'

const root = join(import.meta.dirname, '../../..')
const example = (name: string) => join(root, 'examples', name)
/** Where installed packages are: those of the suite, then those of the repository. */
const installed = [join(root, 'test/ecosystem/node_modules'), join(root, 'node_modules')]

/** What an example's package.json declares. */
export function dependenciesOf (name: string): string[] {
  const { dependencies = {}, devDependencies = {} } = JSON.parse(readFileSync(join(example(name), 'package.json'), 'utf8'))
  return Object.keys({ ...dependencies, ...devDependencies })
}

/** Copies an example into a folder of its own, with links to the packages that it declares and no others. `fastify-prism` is the repository. */
export function copyExample (t: Test, name: string): string {
  const folder = mkdtempSync(join(tmpdir(), `prism-example-${name}-`))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  cpSync(example(name), folder, { recursive: true })
  for (const dependency of dependenciesOf(name)) {
    const target = join(folder, 'node_modules', dependency)
    mkdirSync(dirname(target), { recursive: true })
    if (dependency === 'fastify-prism') linkPackage(target)
    else symlinkSync(installedAt(dependency), target, 'dir')
  }
  return folder
}

function installedAt (dependency: string): string {
  // One Fastify for the package and for the app: the repository's.
  const folders = dependency === 'fastify' ? installed.toReversed() : installed
  const found = folders.map((folder) => join(folder, dependency)).find((folder) => existsSync(folder))
  if (found === undefined) throw new Error(`${dependency} is not installed: add it to test/ecosystem/package.json`)
  return found
}

/** The package's entry points, from the sources. */
function linkPackage (target: string): void {
  const { exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { exports: Record<string, string | { default: string }> }
  const sourceOf = (entry: string | { default: string }) => (typeof entry === 'string' ? entry : entry.default).replace('./dist/', './sources/').replace(/\.js$/, '.ts')
  mkdirSync(target, { recursive: true })
  symlinkSync(root, join(target, 'sources'), 'dir')
  writeFileSync(join(target, 'package.json'), JSON.stringify({ name: 'fastify-prism', type: 'module', exports: Object.fromEntries(Object.entries(exports).map(([name, entry]) => [name, sourceOf(entry)])) }))
}

/** Starts a program of an example on a free port, and returns the URL that it prints; killed with its owner. */
export async function startExample (t: Test, folder: string, { file = 'app.js', env = {} }: { file?: string, env?: Record<string, string> } = {}): Promise<string> {
  const { PATH = '' } = process.env
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', file], { cwd: folder, env: { PATH, PORT: '0', REDIS_URL: redisUrl, SESSION_SECRET: secret, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
  t.after(() => { child.kill('SIGKILL') })
  let complaints = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => { complaints += text })
  const ended = new Promise<never>((_resolve, reject) => { child.once('exit', (code) => reject(new Error(`${file} ended with ${code}: ${complaints}`))) })
  ended.catch(() => {}) // relevant only until it listens
  return await Promise.race([ended, new Promise<string>((resolve) => { createInterface(child.stdout).on('line', (line) => { if (line.startsWith('http://')) resolve(line.replace('[::1]', 'localhost')) }) })])
}
