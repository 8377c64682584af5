/** Whatever a helper ends with: a tap test, or a bench that calls what it was handed. */
export interface Owner {
  /** Called once, when the test or bench is over; the last one given runs first. */
  after (end: () => Promise<void> | void): unknown
}
