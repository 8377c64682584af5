import { execFile, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import type { Owner } from './cleanup-scope.ts'
import { plainFetch } from './plain-fetch.ts'
import { freePort } from './ports.ts'
import { until } from './until.ts'

const name = 'http-cache-tests'
const version = '0.4.5'
const integrity = 'DjuwN9nUZXLTW+wav1LRESCZNVxl8SshwOy4z1pxuWbWt5/ay6sM9QQ1lebBaDO6P1IMBoK6mdf+PuVP/QNL8A=='

/** One test of the suite. */
export interface ConformanceTest {
  readonly id: string
  readonly name: string
  /** default `required` */
  readonly kind?: 'required' | 'optimal' | 'check'
  /** applies only to a browser's own cache */
  readonly browser_only?: boolean
}

/** The result of a test: true, or the kind of failure and its message. */
export type ConformanceResult = true | readonly [kind: string, text: string]

/** The suite, installed and ready. */
export interface ConformanceSuite {
  readonly tests: readonly { readonly id: string, readonly tests: readonly ConformanceTest[] }[]
  /** Runs tests against a cache in front of the suite's origin. */
  run (tests: ConformanceSuite['tests'], url: string): Promise<Readonly<Record<string, ConformanceResult>>>
  /** Starts the origin. @returns its address */
  startOrigin (owner: Owner): Promise<string>
}

const run = promisify(execFile)

/**
 * Installs the public conformance suite for HTTP caches (cache-tests.fyi) as its authors publish it.
 *
 * It is not a dependency of the project: it would install npm 6, which only its documentation needs.
 */
export async function bringConformanceSuite (): Promise<ConformanceSuite> {
  const folder = join(import.meta.dirname, '..', '..', 'node_modules', '.cache', `${name}-${version}`)
  if (!existsSync(folder)) await bring(folder)
  const load = async <Module>(path: string) => await import(pathToFileURL(join(folder, path)).href) as Module
  const { default: tests } = await load<{ default: ConformanceSuite['tests'] }>('tests/index.mjs')
  const client = await load<{ runTests: (tests: ConformanceSuite['tests'], ask: typeof plainFetch, isBrowser: boolean, url: string) => Promise<void>, getResults: () => Record<string, ConformanceResult> }>('client/runner.mjs')
  return {
    tests,
    run: async (tests, url) => {
      await client.runTests(tests, plainFetch, false, url)
      return client.getResults()
    },
    startOrigin: (owner) => startOrigin(owner, folder)
  }
}

async function bring (folder: string): Promise<void> {
  const scratch = await mkdtemp(join(tmpdir(), 'prism-conformance-'))
  try {
    await run('npm', ['pack', `${name}@${version}`, '--pack-destination', scratch], { shell: process.platform === 'win32' })
    const packed = join(scratch, `${name}-${version}.tgz`)
    if (createHash('sha512').update(await readFile(packed)).digest('base64') !== integrity) throw new Error(`${name}@${version} is not what was expected`)
    await run('tar', ['-xzf', packed, '-C', scratch])
    await mkdir(join(folder, '..'), { recursive: true })
    await rename(join(scratch, 'package'), folder).catch(async () => { await run('cp', ['-r', join(scratch, 'package'), folder]) })
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
}

async function startOrigin (owner: Owner, folder: string): Promise<string> {
  const port = await freePort()
  const env = { ...process.env, npm_config_protocol: 'http', npm_config_port: String(port), npm_config_pidfile: '/dev/null' }
  const child = spawn(process.execPath, ['server/server.mjs'], { cwd: folder, env, stdio: 'ignore' })
  owner.after(() => { child.kill() })
  const url = `http://127.0.0.1:${port}`
  await until(async () => (await plainFetch(url)).status > 0, { what: 'the origin listens' })
  return url
}
