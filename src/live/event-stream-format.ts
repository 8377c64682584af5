import { isEventId, reservedTypes } from '../events/event.ts'
import type { CloudEvent } from '../events/event.ts'

/**
 * Writes a block of `text/event-stream` (WHATWG HTML section 9.2): fields, then an empty line.
 *
 * @param fields in order; a value of several lines becomes as many fields
 */
export function writeBlock (fields: readonly (readonly [name: string, value: string | number])[]): string {
  const lines = fields.flatMap(([name, value]) => String(value).split(/\r\n|\r|\n/).map((line) => `${name}: ${line}\n`))
  return `${lines.join('')}\n`
}

/** An event's name in the stream: its type, unless that has another meaning there. */
export function nameOf ({ type }: CloudEvent): string {
  return reservedTypes.has(type) || /[\r\n\0]/.test(type) ? 'message' : type
}

/**
 * Writes where a stream stands: with one topic the id of its last event; with several each topic and its id, `events=1-0;user:7=2-0`.
 */
export function writePositions (positions: ReadonlyMap<string, string | undefined>): string {
  if (positions.size === 1) return [...positions.values()][0] ?? ''
  return [...positions].filter(([, id]) => id !== undefined).map(([topic, id]) => `${topic}=${id}`).join(';')
}

/** Characters: as many topics as one connection may follow, each with its longest name and position, have fewer. */
const longestPositions = 10_000

/**
 * Reads where a stream stood.
 *
 * @returns for each topic the id to resume from, which is undefined for a topic that was not in it; undefined when it cannot be understood
 */
export function readPositions (text: string, topics: readonly string[]): Map<string, string | undefined> | undefined {
  // Of several topics only one can know this id; the others will be told so.
  if (isEventId(text)) return new Map(topics.map((topic) => [topic, text]))
  if (text.length > longestPositions) return undefined
  const known = new Map<string, string>()
  for (const pair of text.split(';')) {
    const end = pair.indexOf('=')
    const id = pair.slice(end + 1)
    if (end === -1 || !isEventId(id)) return undefined
    known.set(pair.slice(0, end), id)
  }
  return new Map(topics.map((topic) => [topic, known.get(topic)]))
}
