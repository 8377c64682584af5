import { isPromise } from '../shared/returned-values.ts'
import type { LimitPolicy, PartitionBy } from './options.ts'

/** A `by` that is a function. */
type PartitionFunction<Request> = Extract<PartitionBy<Request>, (request: Request) => unknown>

/** How a `by` function was found to run too early. */
interface EarlyPartition {
  readonly error?: unknown
}

/** After so many requests without a name, `by` is taken to have none for them. */
const maxVerified = 1000

/**
 * Detects a `by` function that runs in onRequest and needs what a later hook sets, such as `request.user`: it names no client there, so that each request
 * would be counted by address without notice, but does in preHandler; or it throws.
 */
export class EarlyPartitions<Request extends object> {
  readonly #by: PartitionFunction<Request>
  readonly #warn: (found: EarlyPartition) => void
  readonly #unnamed = new WeakSet<Request>()
  #left = maxVerified

  /** @param warn is called once */
  constructor (by: PartitionFunction<Request>, warn: (found: EarlyPartition) => void) {
    this.#by = by
    this.#warn = warn
  }

  /** The same function, observed in onRequest. */
  readonly by: PartitionFunction<Request> = (request) => {
    if (this.#left <= 0) return this.#by(request)
    try {
      const name = this.#by(request)
      if (isPromise(name)) name.then((name) => { this.#note(request, name) }, () => {})
      else this.#note(request, name)
      return name
    } catch (error) {
      this.#end({ error })
      throw error
    }
  }

  /** Call in preHandler: calls the function again where there was no name in onRequest. @returns undefined if there is nothing to verify */
  verify (request: Request): Promise<void> | undefined {
    return this.#left > 0 && this.#unnamed.delete(request) ? this.#verify(request) : undefined
  }

  async #verify (request: Request): Promise<void> {
    this.#left--
    try {
      if (isName(await this.#by(request))) this.#end({})
    } catch {
      // The request was counted: what its function throws now changes nothing.
    }
  }

  #note (request: Request, name: unknown): void {
    if (isName(name)) this.#left = 0
    else this.#unnamed.add(request)
  }

  #end (found: EarlyPartition): void {
    if (this.#left <= 0) return
    this.#left = 0
    this.#warn(found)
  }
}

/** The `by` functions of an app that run before its own hooks. Policies that share a function share its observation. */
export class ObservedPartitions<Request extends object, Reply> {
  readonly #warn: (policy: string, found: EarlyPartition) => void
  readonly #observed = new Map<unknown, EarlyPartitions<Request>>()

  /** @param warn is called once for each function */
  constructor (warn: (policy: string, found: EarlyPartition) => void) {
    this.#warn = warn
  }

  /** The same policy, with its function observed. */
  observe (policy: LimitPolicy<Request, Reply>): LimitPolicy<Request, Reply> {
    const { by, hook, name } = policy
    if (typeof by !== 'function' || hook !== 'onRequest') return policy
    const found = this.#observed.get(by) ?? new EarlyPartitions(by, (early) => { this.#warn(name, early) })
    this.#observed.set(by, found).set(found.by, found)
    return { ...policy, by: found.by }
  }

  /** The observations of these policies, each once. */
  of (policies: readonly { readonly by: unknown }[]): EarlyPartitions<Request>[] {
    return [...new Set(policies.flatMap(({ by }) => this.#observed.get(by) ?? []))]
  }
}

function isName (name: unknown): boolean {
  return name !== undefined && name !== null && name !== ''
}
