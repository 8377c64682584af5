/** The owner of a helper's resources: a tap test, or a bench. */
export interface Owner {
  /** Registers a function that runs when the test or bench is over; the last registered runs first. */
  after (end: () => Promise<void> | void): unknown
}
