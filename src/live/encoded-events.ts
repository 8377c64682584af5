/** Encodes each event once for all connections. */
export class EncodedEvents<Encoded> {
  readonly #encode: (topic: string, event: object, text: string) => Encoded
  readonly #encoded = new WeakMap<object, Encoded>()
  #lastEvent: object | undefined
  #last: Encoded | undefined

  constructor (encode: (topic: string, event: object, text: string) => Encoded) {
    this.#encode = encode
  }

  of (topic: string, event: object, text: string): Encoded {
    // All connections of a topic receive an event one after the other.
    if (event === this.#lastEvent) return this.#last as Encoded
    let encoded = this.#encoded.get(event)
    if (encoded === undefined) this.#encoded.set(event, encoded = this.#encode(topic, event, text))
    this.#lastEvent = event
    this.#last = encoded
    return encoded
  }
}
