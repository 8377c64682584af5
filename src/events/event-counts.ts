/** Counters of the event bus since the process started. */
export interface EventCounts {
  published: number
  /** publishes without a confirmation; subscribers may have received some of them */
  publishFailed: number
  /** received by this process */
  received: number
  /** calls of listeners: one event for three subscriptions counts three */
  delivered: number
  /** published by other services without an ID */
  external: number
  /** dropped: not a JSON object, or too large */
  malformed: number
  /** events that the channel did not deliver and that were read from the log */
  recovered: number
  resets: number
  /** listeners that threw */
  failed: number
}
