import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { cpus, loadavg } from 'node:os'
import { promisify } from 'node:util'
import { findRedisServer } from '../../service/dev-redis/find-binary.ts'
import type { BenchOptions } from '../options.ts'

const run = promisify(execFile)

/** Progress on stderr: one line that is overwritten on a terminal; elsewhere only the lines that are kept. */
export class Progress {
  readonly #isTerminal = process.stderr.isTTY

  show (text: string): void {
    if (this.#isTerminal) process.stderr.write(`\r\x1b[2K${text}`)
  }

  keep (text: string): void {
    process.stderr.write(this.#isTerminal ? `\r\x1b[2K${text}\n` : `${text}\n`)
  }

  end (): void {
    if (this.#isTerminal) process.stderr.write('\r\x1b[2K')
  }
}

/** What the figures depend on, in one line. */
export async function machine (): Promise<string> {
  const redis = findRedisServer()
  const { stdout } = await run(redis.path, ['--version'], { env: { ...process.env, ...redis.env } })
  const versions = ['fastify', 'ioredis', '@fastify/session', '@fastify/rate-limit'].map((name) => `${name} ${versionOf(name)}`)
  const wrk = await run('wrk', ['-v']).then(() => '', (error: { stdout?: string }) => error.stdout ?? '')
  return [`Node ${process.versions.node}`, `V8 ${process.versions.v8}`, `Redis ${/v=(\S+)/.exec(stdout)?.[1]}`, `wrk ${/wrk \S*?([\d.]+)/.exec(wrk)?.[1] ?? 'none'}`, ...versions,
    `${cpus().length} cores of ${cpus()[0]?.model.trim()}`, `load average ${loadavg()[0]?.toFixed(1)}`].join(', ')
}

export function versionOf (name: string, from: string | URL = import.meta.url): string {
  const path = createRequire(from).resolve.paths(name)?.map((folder) => `${folder}/${name}/package.json`).find((file) => isReadable(file))
  return path === undefined ? 'unknown' : (JSON.parse(readFileSync(path, 'utf8')) as { version: string }).version
}

function isReadable (file: string): boolean {
  try {
    readFileSync(file)
    return true
  } catch {
    return false
  }
}

/** Writes every run's figures to the file of `--json`. */
export async function writeResult (options: BenchOptions, results: unknown): Promise<void> {
  await writeFile(options.json, JSON.stringify({ machine: await machine(), options, results }, null, 2))
}
