import { execFile, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, rename, rm } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import type { Owner } from './cleanup-scope.ts'
import { plainFetch } from './plain-fetch.ts'
import { freePort } from './ports.ts'
import { until } from './until.ts'

const repository = 'https://github.com/http-tests/cache-tests.git'
/** The suite's package on npm is years older than its repository. */
const commit = 'b55b8bda3dbb8c927c04e85bd8d496a8caa3e4ba'

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
 * Brings the public conformance suite for HTTP caches (cache-tests.fyi): the checkout that `CACHE_TESTS` names, else the pinned commit of its repository.
 *
 * It is no dependency: it would bring npm with it, which only its own documentation needs.
 */
export async function bringConformanceSuite (): Promise<ConformanceSuite> {
  const given = process.env.CACHE_TESTS
  const folder = given === undefined ? join(import.meta.dirname, '..', '..', 'node_modules', '.cache', `cache-tests-${commit}`) : resolve(given)
  if (given === undefined && !existsSync(folder)) await bring(folder)
  const load = async <Module>(path: string) => await import(pathToFileURL(join(folder, path)).href) as Module
  const { default: tests } = await load<{ default: ConformanceSuite['tests'] }>('tests/index.mjs')
  const client = await load<{ runTests: (tests: ConformanceSuite['tests'], isBrowser: boolean, url: string) => Promise<void>, getResults: () => Record<string, ConformanceResult> }>('test-engine/client/runner.mjs')
  return {
    tests,
    run: async (tests, url) => {
      await client.runTests(tests, false, url)
      return client.getResults()
    },
    startOrigin: (owner) => startOrigin(owner, folder)
  }
}

async function bring (folder: string): Promise<void> {
  const scratch = `${folder}.${process.pid}`
  try {
    await mkdir(scratch, { recursive: true })
    for (const args of [['init', '--quiet'], ['fetch', '--quiet', '--depth', '1', repository, commit], ['checkout', '--quiet', 'FETCH_HEAD']]) await run('git', args, { cwd: scratch })
    // The suite's client needs one of its dependencies; the others are for its web pages.
    await run('npm', ['install', '--prefix', join(scratch, 'client-only'), '--ignore-scripts', '--no-audit', '--no-fund', 'undici@7'], { shell: process.platform === 'win32' })
    await rename(join(scratch, 'client-only', 'node_modules'), join(scratch, 'node_modules'))
    await rename(scratch, folder)
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
}

async function startOrigin (owner: Owner, folder: string): Promise<string> {
  const port = await freePort()
  const env = { ...process.env, npm_config_protocol: 'http', npm_config_port: String(port), npm_config_pidfile: '/dev/null' }
  const child = spawn(process.execPath, ['test-engine/server/server.mjs'], { cwd: folder, env, stdio: ['ignore', 'ignore', 'inherit'] })
  owner.after(() => { child.kill() })
  const url = `http://127.0.0.1:${port}`
  await until(async () => (await plainFetch(url)).status > 0, { what: 'the origin listens' })
  return url
}
