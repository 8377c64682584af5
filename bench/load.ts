import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import autocannon from 'autocannon'
import { cores, pinned } from './server.ts'

/** One request of a workload; `field` is an additional field, as name and value. */
export interface Line { path: string, address?: string, cookie?: string, field?: readonly [name: string, value: string] }

/** Measurements of a client. */
export interface Seen { requests: number, seconds: number, p50Ms: number, p99Ms: number, failed: number }

/** A load: requests, connections and duration. */
export interface Load { url: string, file: string, lines: Line[], connections: number, seconds: number }

const run = promisify(execFile)
const script = new URL('./wrk/paths.lua', import.meta.url).pathname

/** Whether `wrk` is installed; otherwise `autocannon` generates the load, and uses more of the core that it shares with Redis. */
export const hasWrk = await run('wrk', ['-v']).then(() => true, (error: { code?: unknown }) => error.code === 1)

/** Writes a workload's lines for `wrk`. */
export function writeLines (file: string, lines: Line[]): Promise<void> {
  return writeFile(file, lines.map(({ path, address = '', cookie = '', field = [] }) => `${path}\t${address}\t${cookie}\t${field.join('\t')}\n`).join(''))
}

/** Generates the load, and returns its measurements. */
export function makeLoad (load: Load): Promise<Seen> {
  return hasWrk ? wrk(load) : cannon(load)
}

async function wrk ({ url, file, connections, seconds }: Load): Promise<Seen> {
  const [program = '', ...args] = pinned(cores.load, ['wrk', '-t1', `-c${connections}`, `-d${seconds}s`, '--timeout', '10s', '-s', script, url, '--', file])
  const { stdout } = await run(program, args)
  return JSON.parse(stdout.slice(stdout.lastIndexOf('{"requests"'))) as Seen
}

async function cannon ({ url, lines, connections, seconds }: Load): Promise<Seen> {
  const requests = lines.map(({ path, address, cookie, field }) => ({ path, headers: { ...(field === undefined ? {} : { [field[0]]: field[1] }), ...(address ? { 'x-forwarded-for': address } : {}), ...(cookie ? { cookie } : {}) } }))
  const { requests: { total }, latency, errors } = await autocannon({ url, connections, duration: seconds, requests })
  return { requests: total, seconds, p50Ms: latency.p50, p99Ms: latency.p99, failed: errors }
}
