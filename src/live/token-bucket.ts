/** A token bucket: `capacity` tokens at once, refilled with `perSecond` tokens a second. */
export class TokenBucket {
  #tokens: number
  #filledAt = performance.now()
  #capacity: number
  #perSecond: number

  constructor (capacity: number, perSecond: number) {
    this.#tokens = this.#capacity = capacity
    this.#perSecond = perSecond
  }

  /** @returns whether a token was available */
  take (now = performance.now()): boolean {
    this.#tokens = Math.min(this.#capacity, this.#tokens + (now - this.#filledAt) / 1000 * this.#perSecond)
    this.#filledAt = now
    if (this.#tokens < 1) return false
    this.#tokens -= 1
    return true
  }
}
