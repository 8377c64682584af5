import { isEventId } from '../events/event.ts'

/** Frames that a client sends over a WebSocket. */
type ClientFrame =
  | { readonly type: 'subscribe', readonly topic: string, readonly since: string | undefined }
  | { readonly type: 'unsubscribe', readonly topic: string }
  | { readonly type: 'ping' }

/** Frames that the server sends over a WebSocket, besides events. */
export type ServerFrame =
  | { readonly type: 'subscribed' | 'reset', readonly topic: string, readonly id: string }
  | { readonly type: 'error', readonly code: string, readonly detail: string, readonly topic?: string | undefined }
  | { readonly type: 'pong' }

/** Close codes of a WebSocket. @see RFC 6455 section 7.4 */
export const closeCodes = Object.freeze({
  /** the process shuts down: reconnect */
  restart: 1012,
  /** an error of the server: reconnect */
  failed: 1011,
  /** a binary frame was sent; only text is accepted */
  unsupported: 1003,
  /** the session has ended */
  signedOut: 4001,
  /** the client reads too slowly: reconnect and resume */
  slow: 4008,
  /** the client sent too many frames */
  flood: 4029
})

/** Why a connection is closed. */
export type CloseReason = keyof typeof closeCodes

/** Characters; the longest valid frame has a tenth of them. */
const maxFrameLength = 6144

/**
 * Parses a client's frame; does not check its topic.
 *
 * @returns the frame, or a sentence that says why it is invalid
 */
export function readFrame (text: string): ClientFrame | string {
  if (text.length > maxFrameLength) return `A frame must have at most ${maxFrameLength} characters.`
  const frame = parse(text)
  if (typeof frame !== 'object' || frame === null) return 'A frame must be a JSON object.'
  const { type, topic, since } = frame as Record<string, unknown>
  if (type === 'ping') return { type }
  if (type !== 'subscribe' && type !== 'unsubscribe') return 'The type of a frame must be subscribe, unsubscribe or ping.'
  if (typeof topic !== 'string') return 'A frame must name its topic.'
  if (type === 'unsubscribe') return { type, topic }
  if (since !== undefined && !isEventId(since)) return 'since must be an event ID.'
  return { type, topic, since }
}

function parse (text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** An event as a WebSocket frame of a server, and its payload alone. */
export interface EventFrame { readonly frame: Buffer, readonly payload: Buffer }

/** Encodes an event as an unfragmented text frame. @see RFC 6455 section 5.2 */
export function encodeFrame (topic: string, text: string): EventFrame {
  const payload = `{"type":"event","topic":"${topic}","event":${text}}`
  const bytes = Buffer.byteLength(payload)
  const head = frameHead(bytes)
  const frame = Buffer.allocUnsafe(head.length + bytes)
  head.copy(frame)
  frame.write(payload, head.length)
  return { frame, payload: frame.subarray(head.length) }
}

const finalText = 0x81
/** A ping without payload. */
export const pingFrame = Buffer.from([0x89, 0])

/** An event has fewer than 65,536 bytes: no frame needs a length of 64 bits. */
function frameHead (bytes: number): Buffer {
  return bytes < 126 ? Buffer.from([finalText, bytes]) : Buffer.from([finalText, 126, bytes >> 8, bytes & 255])
}
