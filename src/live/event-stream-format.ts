import { isEventId, reservedTypes } from '../events/event.ts'
import type { CloudEvent } from '../events/event.ts'

/**
 * Formats an event of `text/event-stream` (WHATWG HTML section 9.2): fields, then an empty line.
 *
 * @param fields in order; a value with several lines becomes several fields
 */
export function writeBlock (fields: readonly (readonly [name: string, value: string | number])[]): string {
  const lines = fields.flatMap(([name, value]) => String(value).split(/\r\n|\r|\n/).map((line) => `${name}: ${line}\n`))
  return `${lines.join('')}\n`
}

/** The value of the `event` field: the event's type, or `message` for a type that is reserved or cannot be written. */
export function nameOf ({ type }: CloudEvent): string {
  return reservedTypes.has(type) || /[\r\n\0]/.test(type) ? 'message' : type
}

/** An event's block without its `id` field, and the block with its own ID as a chunk of HTTP/1.1. */
export interface EventBlock { readonly rest: string, readonly restBytes: number, readonly chunk: Buffer, readonly block: Buffer }

/** Encodes an event for streams of one topic, where its ID is the position. */
export function encodeBlock (event: CloudEvent, text: string): EventBlock {
  const rest = writeBlock([['event', nameOf(event)], ['data', text]])
  const block = event.id === undefined ? rest : `id: ${event.id}\n${rest}`
  const bytes = Buffer.byteLength(block)
  const chunk = Buffer.from(writeChunk(block, bytes))
  const start = chunk.length - bytes - 2
  return { rest, restBytes: Buffer.byteLength(rest), chunk, block: chunk.subarray(start, start + bytes) }
}

/** Frames text as a chunk. @see RFC 9112 section 7.1 */
export function writeChunk (text: string, bytes: number): string {
  return `${bytes.toString(16)}\r\n${text}\r\n`
}

/**
 * Formats the positions of a stream: the ID of the last event for one topic; topics with IDs for several, `events=1-0;user:7=2-0`.
 * The separators and `%` are percent-encoded in topics.
 */
export function writePositions (positions: ReadonlyMap<string, string | undefined>): string {
  if (positions.size === 1) return [...positions.values()][0] ?? ''
  return [...positions].filter(([, id]) => id !== undefined).map(([topic, id]) => `${encode(topic)}=${id}`).join(';')
}

function encode (topic: string): string {
  return /[%;=]/.test(topic) ? topic.replaceAll(/[%;=]/g, encodeURIComponent) : topic
}

/** Characters: 50 topics with names and positions of maximum length have fewer, unless most characters are encoded. */
const longestPositions = 10_000

/**
 * Parses positions as {@link writePositions} formats them.
 *
 * @returns for each topic the ID to resume from, undefined for a topic without a position; undefined for an invalid text
 */
export function readPositions (text: string, topics: readonly string[]): Map<string, string | undefined> | undefined {
  // At most one topic has this ID; the other topics are reset.
  if (isEventId(text)) return new Map(topics.map((topic) => [topic, text]))
  if (text.length > longestPositions) return undefined
  const known = new Map<string, string>()
  for (const pair of text.split(';')) {
    const end = pair.indexOf('=')
    const id = pair.slice(end + 1)
    if (end === -1 || !isEventId(id)) return undefined
    known.set(pair.slice(0, end), id)
  }
  return new Map(topics.map((topic) => [topic, known.get(encode(topic))]))
}
