import { EventError, EventTooLargeError, TopicError } from '../shared/errors.ts'
import { copyJson } from '../shared/json.ts'

/** What a publisher says of an event; the bus adds the rest. */
export interface NewEvent {
  /** what happened, `city.noted` */
  type: string
  /** anything that JSON keeps: see {@link copyJson} */
  data?: unknown
  /** what it happened to, within the source */
  subject?: string
  /** when it happened, RFC 3339; default now */
  time?: string
}

/** An event as it is delivered: CloudEvents 1.0. */
export interface CloudEvent {
  readonly specversion: '1.0'
  /** its place in the topic's log; absent for what another service published plainly, which nobody can resume from */
  readonly id?: string
  /** the id of the event before it in the log; '' where the log begins */
  readonly prev?: string
  readonly source: string
  readonly type: string
  readonly subject?: string
  readonly time?: string
  readonly data?: unknown
  readonly [extension: string]: unknown
}

/** An event with its text. */
export interface Envelope {
  readonly event: CloudEvent
  /** the same as JSON, ready to be sent on */
  readonly text: string
}

/** An event that has a place in the log. */
export interface LoggedEnvelope extends Envelope {
  readonly id: string
  readonly prev: string
}

/** Types that an EventSource gives a meaning of its own, or we do. */
export const reservedTypes: ReadonlySet<string> = new Set(['open', 'error', 'reset'])

/** An envelope may have so many bytes. */
export const maxEventBytes = 16_384
/** Two ids and their names have fewer. */
const headBytes = 128

/** Two whole numbers of 64 bits, as Redis writes a stream's ids. */
export type EventId = `${bigint}-${bigint}`

/** Whether a text can be an event's id: in its one form, and small enough that Redis reads what comes after it. */
export function isEventId (text: unknown): text is EventId {
  return typeof text === 'string' && /^(?:0|[1-9]\d{0,18})-(?:0|[1-9]\d{0,18})$/.test(text)
}

/** Orders two ids: below 0 when the first is the earlier one. */
export function compareIds (one: string, other: string): number {
  const [time = '', sequence = ''] = one.split('-')
  const [otherTime = '', otherSequence = ''] = other.split('-')
  return compareNumbers(time, otherTime) || compareNumbers(sequence, otherSequence)
}

/** Beyond what a double holds: longer is greater, then as text. */
function compareNumbers (one: string, other: string): number {
  return one.length - other.length || (one < other ? -1 : one > other ? 1 : 0)
}

/**
 * Checks a topic's name: 1 to 128 of letters, digits, `_ . : -`.
 *
 * @throws {TopicError} PRISM_ERR_TOPIC
 */
export function checkTopic (topic: unknown): string {
  if (typeof topic === 'string' && /^[A-Za-z0-9_.:-]{1,128}$/.test(topic)) return topic
  throw new TopicError()
}

/**
 * Writes an envelope without its ids, which only the log knows.
 *
 * @returns JSON from the member after them to the end
 * @throws {EventError} PRISM_ERR_EVENT; {EventTooLargeError} PRISM_ERR_EVENT_TOO_LARGE
 */
export function writeRest (event: NewEvent, source: string): string {
  const { type, data, subject, time = new Date().toISOString() } = checkEvent(event)
  const kept = data === undefined ? undefined : copyJson(data, refuseData)
  const rest = JSON.stringify({ source, type, subject, time, data: kept }).slice(1)
  const bytes = Buffer.byteLength(rest) + headBytes
  if (bytes > maxEventBytes) throw new EventTooLargeError(bytes, maxEventBytes)
  return rest
}

function checkEvent (event: NewEvent): NewEvent {
  if (typeof event !== 'object' || event === null) throw new EventError('must be an object with a type')
  if (typeof event.type !== 'string' || !/^[\x21-\x7e]{1,128}$/.test(event.type)) throw new EventError('must have a type of 1 to 128 printable ASCII characters')
  const { subject = 'x', time = 'x' } = event
  if (typeof subject !== 'string' || subject === '') throw new EventError('must have a text as its subject, or none')
  if (typeof time !== 'string' || time === '' || (event.time !== undefined && !isTime(time))) throw new EventError('must have an RFC 3339 time, or none')
  if (reservedTypes.has(event.type)) throw new EventError(`must have another type than ${event.type}, which means something else to an EventSource`)
  return event
}

/** RFC 3339 section 5.6 */
function isTime (text: string): boolean {
  return /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)$/i.test(text) && !Number.isNaN(Date.parse(text.toUpperCase()))
}

function refuseData (reason: string): never {
  throw new EventError(`must have data that JSON keeps: ${reason}`)
}

/** Puts an envelope together from what its log keeps. */
export function readEntry (id: string, prev: string, rest: string): LoggedEnvelope | undefined {
  const text = `{"specversion":"1.0","id":"${id}","prev":"${prev}",${rest}`
  const event = parse(text)
  return isRecord(event) ? { id, prev, text, event: event as CloudEvent } : undefined
}

/**
 * Reads what came on a channel.
 *
 * Ours are told by `prev`, which only the log can know. Another service's object becomes an event without an id, whatever `id` it brought:
 * its members stay when it has a `type`, else it is the data of an event `message`.
 *
 * @returns undefined for what is no JSON object, is too large, or has a type that is no text
 */
export function readMessage (text: string): Envelope | LoggedEnvelope | undefined {
  if (text.length > maxEventBytes || Buffer.byteLength(text) > maxEventBytes) return undefined
  const value = parse(text)
  if (!isRecord(value)) return undefined
  const { id, prev } = value
  if (isEventId(id) && (prev === '' || isEventId(prev))) return { id, prev, text, event: value as CloudEvent }
  return readForeign(value)
}

function readForeign (value: Record<string, unknown>): Envelope | undefined {
  const { id: _id, prev: _prev, ...members } = value
  if (value.type === undefined) return foreign({ source: 'redis', type: 'message', data: value })
  if (typeof value.type !== 'string' || value.type === '') return undefined
  return foreign({ ...members, source: typeof value.source === 'string' ? value.source : 'redis', type: value.type })
}

function foreign (members: { source: string, type: string } & Record<string, unknown>): Envelope {
  const event: CloudEvent = { ...members, specversion: '1.0' }
  return { event, text: JSON.stringify(event) }
}

function parse (text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function isRecord (value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
