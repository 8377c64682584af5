import { namespaces } from '../redis/keys.ts'
import type { Keys, Namespace } from '../redis/keys.ts'
import type { RedisNode } from './redis-nodes.ts'

/** Estimated figures of one key namespace. */
export interface NamespaceFigures {
  readonly namespace: Namespace
  readonly keys: number
  readonly bytes: number
  /** number of probed keys that expire within each of `lifetimeBounds`, later, or never */
  readonly lifetimes: readonly number[]
}

/** Upper bounds of TTLs in seconds; two more cells count longer TTLs and keys without one. */
export const lifetimeBounds = [60, 300, 900, 3600] as const

/** Keys scanned and keys probed in each step. */
const budget = { scanned: 1000, probed: 40 }

class NamespaceCounters {
  keys = 0
  probed = 0
  bytes = 0
  lifetimes: number[] = new Array(lifetimeBounds.length + 2).fill(0)

  probe (bytes: number, ttlMs: number): void {
    this.probed += 1
    this.bytes += bytes
    const index = ttlMs < 0 ? lifetimeBounds.length + 1 : lifetimeBounds.findIndex((bound) => ttlMs <= bound * 1000)
    const cell = index < 0 ? lifetimeBounds.length : index
    this.lifetimes[cell] = (this.lifetimes[cell] ?? 0) + 1
  }
}

type Pass = Record<Namespace, NamespaceCounters>
const emptyPass = (): Pass => Object.fromEntries(namespaces.map((namespace) => [namespace, new NamespaceCounters()])) as Pass

/**
 * Estimates keys, bytes and TTLs by namespace: each step runs one SCAN call and probes a few of its keys.
 * SCAN returns keys in hash order, which is practically random, so a partial pass is representative. The nodes of a Cluster are scanned one after another.
 */
export class KeyspaceSampler {
  readonly #keys: Keys
  #cursor = '0'
  /** name of the node being scanned */
  #name: string | undefined
  /** nodes that this pass has finished */
  #read = new Set<string>()
  #pass = emptyPass()
  #lastPass = emptyPass()

  constructor (keys: Keys) {
    this.#keys = keys
  }

  /** Runs one step. @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE */
  async step (nodes: readonly RedisNode[], scanned = budget.scanned, probed = budget.probed): Promise<void> {
    const node = this.#next(nodes)
    if (node === undefined) return
    const [cursor, found] = await node.command('scan', [this.#cursor, 'COUNT', scanned]) as [string, string[]]
    this.#cursor = cursor
    for (const key of found) this.#pass[this.#keys.namespaceOf(key)].keys += 1
    const byNamespace = [...Map.groupBy(found, (key) => this.#keys.namespaceOf(key)).values()]
    await Promise.all(byNamespace.flatMap((keys) => sampleOf(keys, Math.ceil(probed / byNamespace.length))).map((key) => this.#probe(node, key)))
    if (cursor === '0') this.#finish(node, nodes)
  }

  /** @returns the node being scanned, or the next unscanned one; a node that has left the Cluster is skipped */
  #next (nodes: readonly RedisNode[]): RedisNode | undefined {
    const current = nodes.find(({ name }) => name === this.#name)
    if (current !== undefined && !this.#read.has(current.name)) return current
    const node = nodes.find(({ name }) => !this.#read.has(name)) ?? nodes[0]
    this.#cursor = '0'
    this.#name = node?.name
    return node
  }

  #finish ({ name }: RedisNode, nodes: readonly RedisNode[]): void {
    this.#read.add(name)
    if (nodes.some((each) => !this.#read.has(each.name))) return
    this.#read.clear()
    this.#lastPass = this.#pass
    this.#pass = emptyPass()
  }

  /** @param total number of keys reported by the servers */
  figures (total: number): NamespaceFigures[] {
    const seen = (pass: Pass) => namespaces.reduce((sum, namespace) => sum + pass[namespace].keys, 0)
    const scanned = seen(this.#pass) + seen(this.#lastPass)
    return namespaces.map((namespace) => {
      const passes = [this.#pass[namespace], this.#lastPass[namespace]]
      const sum = (of: (tally: NamespaceCounters) => number) => passes.reduce((all, tally) => all + of(tally), 0)
      const keys = scanned === 0 ? 0 : Math.round(sum((tally) => tally.keys) / scanned * total)
      const probed = sum((tally) => tally.probed)
      const bytes = probed === 0 ? 0 : Math.round(sum((tally) => tally.bytes) / probed * keys)
      return { namespace, keys, bytes, lifetimes: emptyPass()[namespace].lifetimes.map((_, index) => sum((tally) => tally.lifetimes[index] ?? 0)) }
    })
  }

  async #probe (node: RedisNode, key: string): Promise<void> {
    const [bytes, ttlMs] = await Promise.all([node.command('memory', ['USAGE', key]), node.command('pttl', [key])])
    // -2: the key has expired since SCAN returned it.
    if (bytes !== null && ttlMs !== -2) this.#pass[this.#keys.namespaceOf(key)].probe(Number(bytes), Number(ttlMs))
  }
}

/** Evenly spaced sample. */
function sampleOf (all: readonly string[], count: number): string[] {
  const step = Math.max(1, all.length / count)
  return Array.from({ length: Math.min(count, all.length) }, (_, index) => all[Math.floor(index * step)] ?? '')
}
