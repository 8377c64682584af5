import { execFile } from 'node:child_process'
import { cpSync, existsSync, mkdtempSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import type { Test } from 'tap'

const execute = promisify(execFile)
const root = join(import.meta.dirname, '../..')
const limits = { timeout: 180_000, maxBuffer: 1 << 25 }

/** A project that has installed the package from its tarball, and nothing else of the repository. */
export interface Project {
  readonly folder: string
  /** the files of the tarball */
  readonly files: readonly string[]
  /** Writes a file into the project. */
  write (name: string, text: string): void
  /** Copies a package of the repository into the project, with the dependencies that are missing there. */
  add (name: string): void
  /** Type-checks files: the compiler's output, empty without errors. */
  check (files: readonly string[], options?: object): Promise<string>
  /** Runs a file, and parses the JSON that it prints. */
  run (file: string, env?: Record<string, string>, args?: readonly string[]): Promise<unknown>
}

/** Builds and packs the package, and installs it into an empty project; removed with the test. */
export async function installPackage (t: Test): Promise<Project> {
  const folder = mkdtempSync(join(tmpdir(), 'prism-package-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const { filename, files } = await pack(folder)
  const project = join(folder, 'project')
  mkdirSync(project)
  writeFileSync(join(project, 'package.json'), '{"name":"project","private":true,"type":"module"}')
  await install(t, project, join(folder, filename))

  return {
    folder: project,
    files,
    write: (name, text) => writeFileSync(join(project, name), text),
    add: (name) => add(project, name),
    check: async (checked, options) => await check(project, checked, options),
    run: async (file, env = {}, args = []) => {
      const { PATH = '' } = process.env
      const { stdout } = await execute(process.execPath, [file, ...args], { ...limits, cwd: project, env: { PATH, ...env } }).catch(outputOf)
      return JSON.parse(stdout)
    }
  }
}

function add (project: string, name: string): void {
  const folder = join(project, 'node_modules', name)
  if (existsSync(folder)) return
  cpSync(join(root, 'node_modules', name), folder, { recursive: true })
  const { dependencies = {} } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
  for (const each of Object.keys(dependencies)) add(project, each)
}

async function pack (folder: string): Promise<{ filename: string, files: string[] }> {
  const { stdout } = await npm(root, ['pack', '--json', '--pack-destination', folder])
  const packed: unknown = JSON.parse(stdout.slice(stdout.search(/^\[/m)))
  const [{ filename, files }] = packed as [{ filename: string, files: { path: string }[] }]
  return { filename, files: files.map(({ path }) => path) }
}

/** From the registry; if it is unreachable, by links to the repository's copies of the declared packages. */
async function install (t: Test, project: string, tarball: string): Promise<void> {
  const args = ['install', tarball, 'fastify', '@types/node@24', '--prefer-offline', '--ignore-scripts', '--no-audit', '--no-fund', '--fetch-retries=1', '--fetch-timeout=15000']
  try {
    await npm(project, args)
  } catch (error) {
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

async function check (project: string, files: readonly string[], options: object = {}): Promise<string> {
  const compilerOptions = { target: 'es2024', module: 'nodenext', strict: true, noEmit: true, allowImportingTsExtensions: true, types: ['node'], ...options }
  writeFileSync(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions, files }))
  const { stdout } = await execute(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '--project', project], { ...limits, cwd: project }).catch(outputOf)
  return stdout
}

// npm's environment for this script must not reach the npm that is started here.
async function npm (cwd: string, args: string[]): Promise<{ stdout: string }> {
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^npm_/i.test(name)))
  const [program, first] = process.env.npm_execpath === undefined ? ['npm', []] : [process.execPath, [process.env.npm_execpath]]
  return await execute(program, [...first, ...args], { ...limits, cwd, env })
}

/** Output of a program that failed, or its errors if it printed nothing. */
function outputOf (failure: { stdout?: string, stderr?: string }): { stdout: string } {
  return { stdout: failure.stdout || JSON.stringify({ failed: failure.stderr ?? String(failure) }) }
}
