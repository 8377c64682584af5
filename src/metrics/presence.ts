import { randomBytes } from 'node:crypto'
import { hostname } from 'node:os'
import type { Batch } from '../redis/batch/batch.ts'
import { Script } from '../redis/batch/script.ts'
import type { Keys } from '../redis/keys.ts'

/** What runs: labels of `prism_build_info`; '' where unknown. */
export interface Build {
  readonly version: string
  readonly commit: string
}

/** A process of the app. */
export interface ProcessInfo extends Build {
  readonly id: string
  readonly host: string
  readonly pid: number
  /** milliseconds since 1970 */
  readonly startedAt: number
}

const script = new Script<ProcessInfo[]>({ url: new URL('./presence.lua', import.meta.url), costMicroseconds: 15, read: (reply) => (reply as string[]).map((member) => JSON.parse(member) as ProcessInfo) })

/** Lists this process in Redis, and knows the others: a process that has not called for 2.4 intervals is gone. */
export class Presence {
  readonly own: ProcessInfo
  readonly #batch: Batch
  readonly #keys: Keys
  readonly #lifetimeMs: number
  #all: readonly ProcessInfo[] | undefined

  constructor ({ batch, keyspace }: { readonly batch: Batch, readonly keyspace: Keys }, build: Build, everyMs: number) {
    this.own = { id: randomBytes(6).toString('base64url'), host: hostname(), pid: process.pid, ...build, startedAt: Date.now() }
    this.#batch = batch
    this.#keys = keyspace
    this.#lifetimeMs = Math.ceil(2.4 * everyMs)
  }

  /** All processes, oldest first; undefined while Redis cannot be reached. */
  get all (): readonly ProcessInfo[] | undefined {
    return this.#all
  }

  /** Calls once; never rejects. */
  async call (): Promise<void> {
    const all = await this.#batch.runScript(script, [this.#keys.metricsProcesses()], [JSON.stringify(this.own), this.#lifetimeMs], 'background').catch(() => undefined)
    this.#all = all?.sort((one, other) => one.startedAt - other.startedAt)
  }
}
