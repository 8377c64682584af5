import { normaliseField, parseVary } from '../http/vary.ts'
import { unpackEntry } from './entry.ts'
import type { Entry } from './entry.ts'
import type { Key, KeyMaker } from './key.ts'
import type { Unpacked } from './lookup.ts'
import type { Asking } from './message.ts'
import type { CacheStore } from './store.ts'

/** So many answers of one URL are told apart; the oldest goes when there is one more. */
const mostVariants = 12

/** What stands under a URL whose answers vary: by which fields, and the Redis keys of the answers, the newest last. */
export interface Branch {
  readonly vary: readonly string[]
  readonly names: readonly string[]
}

const mark = 'vary:'

/** Answers of one URL that are told apart by request fields which a response named (RFC 9111 section 4.1). */
export class Variants {
  readonly #keys: KeyMaker
  readonly #store: CacheStore

  constructor (keys: KeyMaker, store: CacheStore) {
    this.#keys = keys
    this.#store = store
  }

  /** Reads what stands under a URL: an answer, or where the one for this request stands; `onBranch` hears of the latter. */
  unpack (packed: Buffer, key: Key, request: Asking, onBranch: (branch: Branch) => void): Unpacked<Entry> {
    const branch = readBranch(packed, key.text)
    if (branch === undefined) return unpackEntry(packed, key.text)
    onBranch(branch)
    const variant = this.keyOf(key, branch.vary, request)
    return { name: variant.name, unpack: (other) => unpackEntry(other, variant.text) }
  }

  /** Names the answer that a request selects. */
  keyOf (key: Key, vary: readonly string[], { headers }: Asking): Key {
    const selected = vary.map((name) => {
      const value = headers[name]
      return value === undefined ? `${name}-` : `${name}=${normaliseField(name, value)}`
    })
    return this.#keys.under(key, selected)
  }

  /** Notes under the URL that one more answer stands beside the others. */
  async add (key: Key, variant: Key, vary: readonly string[], before: Branch | undefined, lifetimeMs: number): Promise<void> {
    const isSame = before !== undefined && before.vary.join() === vary.join()
    const others = isSame ? before.names.filter((name) => name !== variant.name) : []
    const names = [...others, variant.name].slice(-mostVariants)
    const dropped = (before?.names ?? []).filter((name) => name !== variant.name && !names.includes(name))
    await this.#store.keepPointer(key.name, mark + JSON.stringify({ key: key.text, vary, names }), lifetimeMs, dropped)
  }
}

function readBranch (packed: Buffer, key: string): Branch | undefined {
  if (packed.toString('latin1', 0, mark.length) !== mark) return undefined
  try {
    const branch = JSON.parse(packed.toString('utf8', mark.length)) as Partial<Branch> & { key?: unknown }
    const isOurs = branch.key === key && Array.isArray(branch.vary) && parseVary(branch.vary.join()) !== '*' && Array.isArray(branch.names)
    return isOurs ? branch as Branch : undefined
  } catch {
    return undefined // was changed by somebody
  }
}
