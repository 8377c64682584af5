import type { Redis } from 'ioredis'
import type { PooledRedis } from '../redis/client.ts'
import type { UnreachableReason } from '../redis/health/unreachable-reason.ts'
import type { Output } from './output.ts'

export type Environment = Readonly<Record<string, string | undefined>>

/** @returns warnings; throws an error with `faults` for what cannot be used */
export type ReadService = (environment: Environment) => { readonly warnings: readonly string[] }

/** What a command was called with. */
export interface Call {
  readonly words: readonly string[]
  readonly flags: Readonly<Record<string, string | boolean | undefined>>
  readonly output: Output
  /** how the program is started here, for examples: `npx fastify-prism` */
  readonly program: string
  readonly environment: Environment
  /** reads the variables of the service; undefined outside of the service */
  readonly readService: ReadService | undefined
  /** `--url`, else REDIS_URL */
  readonly url: string | undefined
  /** `--prefix` */
  readonly prefix: string
  /** the pool, once Redis was reached; closed for the command; `at` another address than `url` */
  readonly pool: (at?: string) => Promise<PooledRedis>
  /** one plain connection, closed for the command; `at` another address than `url` */
  readonly client: (at?: string) => Promise<Redis>
  /** one to each server that holds keys: a Cluster's masters, or the only one; `reached` a connection to `at` that is open already */
  readonly masters: (at?: string, reached?: Redis) => Promise<readonly Redis[]>
}

/** One verb of the command line. */
export interface Command {
  /** `purge <tag>…` */
  readonly usage: string
  /** one line */
  readonly summary: string
  /** what `--help` says beside it */
  readonly help: readonly string[]
  /** calls to show, without the program's name */
  readonly examples?: readonly string[]
  /** what its exit codes mean, if more than in general */
  readonly exitCodes?: string
  /** its own options */
  readonly flags?: Readonly<Record<string, { type: 'string' | 'boolean', short?: string, help?: string }>>
  /** @returns the exit code: 0 well, 1 something is wrong, 2 called wrongly */
  readonly run: (call: Call) => Promise<number>
}

/** Called in a way that cannot be meant: the message says why, and the exit code is 2. */
export class UsageError extends Error {}

/** Redis cannot be used: the message says why and what to do, and the exit code is 1. */
export class ConnectError extends Error {
  readonly reason: UnreachableReason

  constructor (reason: UnreachableReason) {
    super(`${reason.sentence} ${reason.remedy}`)
    this.reason = reason
  }
}
