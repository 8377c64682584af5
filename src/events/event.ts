import { EventError, EventTooLargeError, TopicError } from '../shared/errors.ts'
import { copyJson } from '../shared/json.ts'

/** An event to publish; the bus adds the other attributes. */
export interface NewEvent {
  /** what happened, `city.noted` */
  type: string
  /** any JSON value: see {@link copyJson} */
  data?: unknown
  /** what the event is about, within the source */
  subject?: string
  /** when it happened, RFC 3339; default now */
  time?: string
}

/** An event as it is delivered: CloudEvents 1.0. */
export interface CloudEvent {
  readonly specversion: '1.0'
  /** its position in the topic's log; absent for a message of another service, from which no subscription can resume */
  readonly id?: string
  /** ID of its predecessor in the log; '' for the first event */
  readonly prev?: string
  readonly source: string
  readonly type: string
  readonly subject?: string
  readonly time?: string
  readonly data?: unknown
  readonly [extension: string]: unknown
}

/** An event and its JSON text. */
export interface Envelope {
  readonly event: CloudEvent
  /** the event as JSON, for forwarding */
  readonly text: string
}

/** An event with a position in the log. */
export interface LoggedEnvelope extends Envelope {
  readonly id: string
  readonly prev: string
}

/** Event types with a special meaning: `open` and `error` for an EventSource, `reset` for this package. */
export const reservedTypes: ReadonlySet<string> = new Set(['open', 'error', 'reset'])

/** The maximum size of an envelope in bytes. */
const maxEventBytes = 16_384
/** An upper bound for the members `specversion`, `id` and `prev`. */
const headBytes = 128

/** A stream entry ID of Redis: two 64-bit integers. */
type EventId = `${bigint}-${bigint}`

/** Whether a text is an event ID: in canonical form, and small enough for `XRANGE` to read the entries after it. */
export function isEventId (text: unknown): text is EventId {
  return typeof text === 'string' && /^(?:0|[1-9]\d{0,18})-(?:0|[1-9]\d{0,18})$/.test(text)
}

/** Orders two event IDs: negative if the first is earlier. */
export function compareIds (one: string, other: string): number {
  const [time = '', sequence = ''] = one.split('-')
  const [otherTime = '', otherSequence = ''] = other.split('-')
  return compareNumbers(time, otherTime) || compareNumbers(sequence, otherSequence)
}

/** The numbers exceed a double: compare by length, then as text. */
function compareNumbers (one: string, other: string): number {
  return one.length - other.length || (one < other ? -1 : one > other ? 1 : 0)
}

/** Visible ASCII without `"`, `*`, `<`, `>`, `\`, `{`, `}`: user IDs such as `auth0|x` and e-mail addresses are part of topics. A star ends a pattern. */
export const topicCharacters = "[\\w!#$%&'()+,\\-./:;=?@[\\]^`|~]"
const topicName = new RegExp(`^${topicCharacters}{1,128}$`)

/**
 * Checks a topic's name: 1 to 128 {@link topicCharacters}.
 *
 * @throws {TopicError} PRISM_ERR_TOPIC
 */
export function checkTopic (topic: unknown): string {
  if (typeof topic === 'string' && topicName.test(topic)) return topic
  throw new TopicError()
}

/**
 * Writes an envelope without `id` and `prev`, which `publish.lua` adds.
 *
 * @returns JSON from the member after them to the end
 * @throws {EventError} PRISM_ERR_EVENT; {EventTooLargeError} PRISM_ERR_EVENT_TOO_LARGE
 */
export function writeRest (event: NewEvent, source: string): string {
  const { type, data, subject, time = new Date().toISOString() } = checkEvent(event)
  const copy = data === undefined ? undefined : copyJson(data, refuseData)
  const rest = JSON.stringify({ source, type, subject, time, data: copy }).slice(1)
  const bytes = Buffer.byteLength(rest) + headBytes
  if (bytes > maxEventBytes) throw new EventTooLargeError(bytes, maxEventBytes)
  return rest
}

function checkEvent (event: NewEvent): NewEvent {
  if (typeof event !== 'object' || event === null) throw new EventError('must be an object with a type')
  if (typeof event.type !== 'string' || !/^[\x21-\x7e]{1,128}$/.test(event.type)) throw new EventError('must have a type of 1 to 128 printable ASCII characters')
  const { subject = 'x', time = 'x' } = event
  if (typeof subject !== 'string' || subject === '') throw new EventError('must have a non-empty string as its subject, or none')
  if (typeof time !== 'string' || time === '' || (event.time !== undefined && !isTime(time))) throw new EventError('must have an RFC 3339 time, or none')
  if (reservedTypes.has(event.type)) throw new EventError(`must not have the type ${event.type}, which is reserved`)
  return event
}

/** RFC 3339 section 5.6 */
function isTime (text: string): boolean {
  return /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)$/i.test(text) && !Number.isNaN(Date.parse(text.toUpperCase()))
}

function refuseData (reason: string): never {
  throw new EventError(`must have data that JSON can represent: ${reason}`)
}

/** Builds an envelope from the fields of its log entry. */
export function readEntry (id: string, prev: string, rest: string): LoggedEnvelope | undefined {
  const text = `{"specversion":"1.0","id":"${id}","prev":"${prev}",${rest}`
  const event = parse(text)
  return isRecord(event) ? { id, prev, text, event: event as CloudEvent } : undefined
}

/**
 * Parses a message of a channel.
 *
 * A message with `prev` was published through the log. An object of another service becomes an event without an ID, even if it has an `id`:
 * an object with a `type` keeps its members; any other becomes the data of an event of type `message`.
 *
 * @returns undefined for a message that is not a JSON object, is too large, or has a type that is not a string
 */
export function readMessage (text: string): Envelope | LoggedEnvelope | undefined {
  if (text.length > maxEventBytes || Buffer.byteLength(text) > maxEventBytes) return undefined
  const value = parse(text)
  if (!isRecord(value)) return undefined
  const { id, prev } = value
  if (isEventId(id) && (prev === '' || isEventId(prev))) return { id, prev, text, event: value as CloudEvent }
  return readExternal(value)
}

/** Whether an envelope has a position in the log. */
export function isLogged (envelope: Envelope | LoggedEnvelope): envelope is LoggedEnvelope {
  return 'prev' in envelope
}

function readExternal (value: Record<string, unknown>): Envelope | undefined {
  const { id: _id, prev: _prev, ...members } = value
  if (value.type === undefined) return external({ source: 'redis', type: 'message', data: value })
  if (typeof value.type !== 'string' || value.type === '') return undefined
  return external({ ...members, source: typeof value.source === 'string' ? value.source : 'redis', type: value.type })
}

function external (members: { source: string, type: string } & Record<string, unknown>): Envelope {
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
