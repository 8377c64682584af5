const bitsPerGeneration = 2 ** 20
const keysPerGeneration = 2 ** 17

/**
 * Remembers which keys came by, in 256 KiB, however many there are: two Bloom filters, of which the older is emptied when the younger is full.
 * It may take a key for one that it knows (1 in 25 when full), never the other way round for the last 131,072 of them.
 */
export class Doorkeeper {
  #young = new Uint32Array(bitsPerGeneration / 32)
  #old = new Uint32Array(bitsPerGeneration / 32)
  #count = 0

  /**
   * Notes a key.
   *
   * @param name ends with 32 hexadecimal digits of a hash, in braces
   * @returns whether it was noted before
   */
  saw (name: string): boolean {
    const places = bitsOf(name)
    const isKnown = places.every((place) => isSet(this.#young, place)) || places.every((place) => isSet(this.#old, place))
    if (this.#count >= keysPerGeneration) this.#turn()
    this.#count += 1
    for (const place of places) this.#young[place >>> 5] = (this.#young[place >>> 5] ?? 0) | (1 << (place & 31))
    return isKnown
  }

  #turn (): void {
    [this.#young, this.#old] = [this.#old.fill(0), this.#young]
    this.#count = 0
  }
}

/** The name's own hash has digits enough for four places. */
function bitsOf (name: string): number[] {
  const end = name.length - 1
  return [32, 24, 16, 8].map((digits) => Number.parseInt(name.slice(end - digits, end - digits + 8), 16) % bitsPerGeneration)
}

function isSet (bits: Uint32Array, place: number): boolean {
  return ((bits[place >>> 5] ?? 0) & (1 << (place & 31))) !== 0
}
