import { execFile } from 'node:child_process'
import { cpSync, existsSync, globSync, mkdtempSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import type { Test } from 'tap'
import { installArgs, limits, npm, packPackage, root } from './pack.ts'

const execute = promisify(execFile)

/** What the tests of the package need besides the repository's packages: see its package.json. */
const tools = join(root, 'tools', 'package', 'node_modules')

/** A project that has installed the package from its tarball, and nothing else of the repository. */
export interface Project {
  readonly folder: string
  readonly tarball: string
  /** the files of the package */
  readonly files: readonly string[]
  /** Writes a file into the project. */
  write (name: string, text: string): void
  /** Copies a package of the repository into the project, with the dependencies that are missing there. */
  add (name: string): void
  /** Type-checks files: the compiler's output, empty without errors. */
  check (files: readonly string[], options?: object, typescript?: string): Promise<string>
  /** Runs a file, and parses the JSON that it prints. */
  run (file: string, options?: RunOptions): Promise<unknown>
}

/** How a file is run. */
export interface RunOptions {
  env?: Record<string, string>
  args?: readonly string[]
  /** the Node program; default this one */
  node?: string | undefined
}

/** Installs the package, as `PRISM_TARBALL` or built and packed now, into an empty project; removed with the test. */
export async function installPackage (t: Test, fastify = 'fastify'): Promise<Project> {
  const folder = mkdtempSync(join(tmpdir(), 'prism-package-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const tarball = process.env.PRISM_TARBALL ?? await packPackage(folder)
  const project = join(folder, 'project')
  mkdirSync(project)
  writeFileSync(join(project, 'package.json'), '{"name":"project","private":true,"type":"module"}')
  await install(t, project, tarball, fastify)

  return {
    folder: project,
    tarball,
    files: globSync('**', { cwd: join(project, 'node_modules/fastify-prism'), withFileTypes: true }).filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name).slice(join(project, 'node_modules/fastify-prism/').length).replaceAll('\\', '/')),
    write: (name, text) => writeFileSync(join(project, name), text),
    add: (name) => add(project, name),
    check: async (checked, options, typescript) => await check(project, checked, options, typescript),
    run: async (file, { env = {}, args = [], node = process.execPath } = {}) => {
      const { PATH = '' } = process.env
      const strip = file.endsWith('.ts') ? ['--experimental-strip-types'] : [] // needed before Node 22.18
      const { stdout } = await execute(node, ['--no-warnings', ...strip, file, ...args], { ...limits, cwd: project, env: { PATH, ...env } }).catch(outputOf)
      return JSON.parse(stdout)
    }
  }
}

/** The oldest Node that the package supports; undefined where there is none for this platform. */
export function oldestNode (): string | undefined {
  return [join(tools, `node-linux-${process.arch}`, 'bin', 'node')].find((path) => existsSync(path))
}

/** The compiler of a TypeScript version: of `tools/package`, or the repository's own. */
export function compilerOf (version: string): string {
  const other = join(tools, `typescript-${version}`, 'bin', 'tsc')
  return existsSync(other) ? other : join(root, 'node_modules/typescript/bin/tsc')
}

/** A program of `tools/package`. */
export function toolOf (name: string): string {
  return join(tools, '.bin', name)
}

function add (project: string, name: string): void {
  const folder = join(project, 'node_modules', name)
  if (existsSync(folder)) return
  cpSync(join(root, 'node_modules', name), folder, { recursive: true })
  const { dependencies = {} } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
  for (const each of Object.keys(dependencies)) add(project, each)
}

/** From the registry; if it is unreachable, by links to the repository's copies of the declared packages. */
async function install (t: Test, project: string, tarball: string, fastify: string): Promise<void> {
  try {
    await npm(project, [...installArgs, tarball, fastify, '@types/node@24'])
  } catch (error) {
    if (fastify !== 'fastify') throw error
    t.comment(`npm install failed, linked instead: ${String(error).slice(0, 200)}`)
    await link(project, tarball)
  }
}

async function link (project: string, tarball: string): Promise<void> {
  const own = join(project, 'node_modules', 'fastify-prism')
  rmSync(join(project, 'node_modules'), { recursive: true, force: true })
  mkdirSync(own, { recursive: true })
  await execute('tar', ['-xzf', tarball, '-C', own, '--strip-components=1'], limits)
  const { dependencies = {}, peerDependencies = {} } = JSON.parse(readFileSync(join(own, 'package.json'), 'utf8'))
  for (const name of [...Object.keys({ ...dependencies, ...peerDependencies }), '@types/node']) {
    mkdirSync(dirname(join(project, 'node_modules', name)), { recursive: true })
    symlinkSync(join(root, 'node_modules', name), join(project, 'node_modules', name), 'dir')
  }
}

async function check (project: string, files: readonly string[], options: object = {}, typescript = join(root, 'node_modules/typescript/bin/tsc')): Promise<string> {
  const compilerOptions = { target: 'es2024', module: 'nodenext', strict: true, noEmit: true, allowImportingTsExtensions: true, types: ['node'], ...options }
  const name = `tsconfig.${Math.random().toString(36).slice(2)}.json` // checks of one project run side by side
  writeFileSync(join(project, name), JSON.stringify({ compilerOptions, files }))
  const { stdout } = await execute(process.execPath, [typescript, '--project', name], { ...limits, cwd: project }).catch(outputOf)
  return stdout
}

/** Output of a program that failed, or its errors if it printed nothing. */
function outputOf (failure: { stdout?: string, stderr?: string }): { stdout: string } {
  return { stdout: failure.stdout || JSON.stringify({ failed: failure.stderr ?? String(failure) }) }
}
