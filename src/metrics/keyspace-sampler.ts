import { namespaces } from '../redis/keys.ts'
import type { Keys, Namespace } from '../redis/keys.ts'
import type { RedisNode } from './redis-nodes.ts'

/** How one part of the key space looks; all of it estimated. */
export interface NamespaceFigures {
  readonly namespace: Namespace
  readonly keys: number
  readonly bytes: number
  /** of the keys looked at closely, how many end within each of `lifetimeBounds`, later, or never */
  readonly lifetimes: readonly number[]
}

/** Upper bounds of lifetimes in seconds: a minute, five, a quarter of an hour, an hour; then longer, and without an end. */
export const lifetimeBounds = [60, 300, 900, 3600] as const

/** Keys that one look reads through, and keys that it looks at closely. */
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
 * Learns how keys, bytes and lifetimes spread over the namespaces: a step of SCAN at each look, never more, and a close look at a few of its keys.
 * SCAN walks in an order that is as good as random, so that a part of a pass speaks for the whole; of a Cluster one node is read after the other.
 */
export class KeyspaceSampler {
  readonly #keys: Keys
  #cursor = '0'
  /** the node that is being read */
  #name: string | undefined
  /** those that this pass has read */
  #read = new Set<string>()
  #pass = emptyPass()
  #lastPass = emptyPass()

  constructor (keys: Keys) {
    this.#keys = keys
  }

  /** Goes one step on. @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE */
  async step (nodes: readonly RedisNode[], scanned = budget.scanned, probed = budget.probed): Promise<void> {
    const node = this.#next(nodes)
    if (node === undefined) return
    const [cursor, found] = await node.command('scan', [this.#cursor, 'COUNT', scanned]) as [string, string[]]
    this.#cursor = cursor
    for (const key of found) this.#pass[this.#keys.namespaceOf(key)].keys += 1
    const byNamespace = [...Map.groupBy(found, (key) => this.#keys.namespaceOf(key)).values()]
    await Promise.all(byNamespace.flatMap((keys) => drawn(keys, Math.ceil(probed / byNamespace.length))).map((key) => this.#probe(node, key)))
    if (cursor === '0') this.#finish(node, nodes)
  }

  /** The node that is being read, or one that this pass has not read yet; a node that is gone is left behind. */
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

  /** @param total keys that the server says it holds */
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
    // -2: it has ended since.
    if (bytes !== null && ttlMs !== -2) this.#pass[this.#keys.namespaceOf(key)].probe(Number(bytes), Number(ttlMs))
  }
}

/** Some of many, evenly. */
function drawn (all: readonly string[], count: number): string[] {
  const step = Math.max(1, all.length / count)
  return Array.from({ length: Math.min(count, all.length) }, (_, index) => all[Math.floor(index * step)] ?? '')
}
