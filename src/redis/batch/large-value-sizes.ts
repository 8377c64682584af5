import { LRUCache } from 'lru-cache'

const maxKeys = 10_000

/** Bytes of the last large value of each key, of the 10,000 keys read most recently. */
export class LargeValueSizes {
  /** Created with the first large value: it allocates all of its entries at once. */
  #sizes: LRUCache<string, number> | undefined

  get isEmpty (): boolean {
    return this.#sizes === undefined || this.#sizes.size === 0
  }

  get (key: string): number | undefined {
    return this.#sizes?.get(key)
  }

  set (key: string, bytes: number): void {
    this.#sizes ??= new LRUCache({ max: maxKeys })
    this.#sizes.set(key, bytes)
  }

  delete (key: string): void {
    this.#sizes?.delete(key)
  }
}
