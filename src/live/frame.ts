import { isEventId } from '../events/event.ts'

/** What a client may say over a WebSocket. */
export type ClientFrame =
  | { readonly type: 'subscribe', readonly topic: string, readonly since: string | undefined }
  | { readonly type: 'unsubscribe', readonly topic: string }
  | { readonly type: 'ping' }

/** What a server says over a WebSocket, besides events. */
export type ServerFrame =
  | { readonly type: 'subscribed' | 'reset', readonly topic: string, readonly id: string }
  | { readonly type: 'error', readonly code: string, readonly detail: string, readonly topic?: string | undefined }
  | { readonly type: 'pong' }

/** Why a server closes a WebSocket; RFC 6455 section 7.4. */
export const closeCodes = Object.freeze({
  /** the process stops: come again, to another */
  restart: 1012,
  /** an error here; come again */
  failed: 1011,
  /** only text is understood */
  unsupported: 1003,
  /** the session has ended */
  signedOut: 4001,
  /** what was sent is read too slowly; come again, and resume */
  slow: 4008,
  /** too much was sent */
  flood: 4029
})

/** Why a connection is closed. */
export type CloseReason = keyof typeof closeCodes

/** Characters: a topic, a position and their names have a tenth of them. */
const longestFrame = 6144

/**
 * Reads what a client said.
 *
 * @returns why it is not understood, in one sentence, when it is not; topics are not yet checked
 */
export function readFrame (text: string): ClientFrame | string {
  if (text.length > longestFrame) return `A frame has at most ${longestFrame} characters.`
  const frame = parse(text)
  if (typeof frame !== 'object' || frame === null) return 'A frame is a JSON object.'
  const { type, topic, since } = frame as Record<string, unknown>
  if (type === 'ping') return { type }
  if (type !== 'subscribe' && type !== 'unsubscribe') return 'The type of a frame is subscribe, unsubscribe or ping.'
  if (typeof topic !== 'string') return 'A frame names its topic.'
  if (type === 'unsubscribe') return { type, topic }
  if (since !== undefined && !isEventId(since)) return "since is an event's id."
  return { type, topic, since }
}

function parse (text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** Makes frames of events; all followers of a topic are sent the same bytes, made once. */
export class EventFrames {
  #made = new WeakMap<object, Buffer>()

  of (topic: string, event: object, text: string): Buffer {
    const known = this.#made.get(event)
    if (known !== undefined) return known
    const frame = Buffer.from(`{"type":"event","topic":"${topic}","event":${text}}`)
    this.#made.set(event, frame)
    return frame
  }
}
