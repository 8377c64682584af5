const bitsPerGeneration = 2 ** 20
const keysPerGeneration = 2 ** 17

/**
 * Records which keys were requested, in constant 256 KiB: two Bloom filters; when the younger is full, the older is cleared.
 * False positives: 1 in 25 when full. No false negatives among the last 131,072 keys.
 */
export class Doorkeeper {
  #young = new Uint32Array(bitsPerGeneration / 32)
  #old = new Uint32Array(bitsPerGeneration / 32)
  #count = 0

  /**
   * Records a key.
   *
   * @param name ends with 32 hexadecimal digits of a hash, in braces
   * @returns whether it was recorded before
   */
  saw (name: string): boolean {
    const bits = bitsOf(name)
    const isKnown = bits.every((bit) => isSet(this.#young, bit)) || bits.every((bit) => isSet(this.#old, bit))
    if (this.#count >= keysPerGeneration) this.#swap()
    this.#count += 1
    for (const bit of bits) this.#young[bit >>> 5] = (this.#young[bit >>> 5] ?? 0) | (1 << (bit & 31))
    return isKnown
  }

  #swap (): void {
    [this.#young, this.#old] = [this.#old.fill(0), this.#young]
    this.#count = 0
  }
}

/** Four bit indexes, taken from the hash that the name ends with. */
function bitsOf (name: string): number[] {
  const end = name.length - 1
  return [32, 24, 16, 8].map((digits) => Number.parseInt(name.slice(end - digits, end - digits + 8), 16) % bitsPerGeneration)
}

function isSet (filter: Uint32Array, bit: number): boolean {
  return ((filter[bit >>> 5] ?? 0) & (1 << (bit & 31))) !== 0
}
