import { readCount, readDuration, readRecord, readBoolean, readString, invalidOption } from '../shared/option-readers.ts'
import type { Duration } from '../shared/option-readers.ts'
import { topicCharacters } from './event.ts'
import type { NewEvent } from './event.ts'
import { compileSchemas } from './schemas.ts'
import type { EventSchemas } from './schemas.ts'

/** What a topic's log retains for subscribers that resume. */
interface RetainOptions {
  /** Events per topic; Redis trims approximately, so a log may hold somewhat more. Default: 1000. */
  count?: number
  /** How long a log is retained after its last event while no process subscribes to the topic: `'10m'`, at least `'15s'`. Default: `'10m'`. */
  time?: Duration
  /** Other counts, by topic or by a prefix and a star: `{ 'user:*': 100 }`; the first match applies. Default: none. */
  topics?: Readonly<Record<string, number>>
}

/** Options of the event bus. */
export interface EventsOptions {
  /** The CloudEvents `source` of published events, a URI reference. Default: `'fastify-prism'`. */
  source?: string
  /** How many events a topic retains, and for how long. Default: `{ count: 1000, time: '10m' }`. */
  retain?: RetainOptions
  /** Maximum of topics that one process subscribes to at once. Default: 10000. */
  maxTopics?: number
  /** JSON schemas of the events' data, by type: `{ 'city.noted': { type: 'object', … } }`. Default: none. */
  schemas?: EventSchemas
  /** Whether `publish` validates events against their schemas. Default: true. */
  validate?: boolean
}

/** {@link EventsOptions} after defaults and checks. */
export interface EventsPolicy {
  readonly source: string
  readonly retainMs: number
  readonly maxTopics: number
  /** throws {EventError} PRISM_ERR_EVENT for data that does not match its schema */
  readonly check: (event: NewEvent) => void
  /** how many events a topic's log retains */
  readonly retainCount: (topic: string) => number
}

/** Subscribed processes renew a log's expiry every 5 s: with a shorter time, one missed renewal loses the log. */
const minRetainMs = 15_000
const maxRetainCount = 1_000_000

/**
 * Resolves the options of the event bus.
 *
 * @throws {OptionError} PRISM_ERR_OPTION
 */
export function resolveEventsPolicy (options: EventsOptions = {}): EventsPolicy {
  readRecord('events', options, ['source', 'retain', 'maxTopics', 'schemas', 'validate'])
  const retain: RetainOptions = readRecord('events.retain', options.retain ?? {}, ['count', 'time', 'topics'])
  const retainMs = readDuration('events.retain.time', retain.time ?? '10m')
  if (retainMs < minRetainMs) invalidOption('events.retain.time', 'at least 15 s', retain.time)
  return Object.freeze({
    source: readString('events.source', options.source ?? 'fastify-prism'),
    retainMs,
    maxTopics: readCount('events.maxTopics', options.maxTopics ?? 10_000),
    check: readBoolean('events.validate', options.validate ?? true) ? compileSchemas(options.schemas ?? {}) : () => {},
    retainCount: readRetainCounts(readCount('events.retain.count', retain.count ?? 1000, { max: maxRetainCount }), retain.topics ?? {})
  })
}

function readRetainCounts (fallback: number, topics: Readonly<Record<string, number>>): (topic: string) => number {
  const rules = Object.entries(topics).map(([pattern, count]) => ({
    matches: readPattern(`events.retain.topics.${pattern}`, pattern),
    count: readCount(`events.retain.topics.${pattern}`, count, { max: maxRetainCount })
  }))
  return (topic) => rules.find(({ matches }) => matches(topic))?.count ?? fallback
}

const patternOfTopics = new RegExp(`^(?=.)${topicCharacters}*\\*?$`)

/**
 * Reads a topic pattern: a topic's name, or a prefix and a star.
 *
 * @throws {OptionError} PRISM_ERR_OPTION
 */
export function readPattern (option: string, pattern: string): (topic: string) => boolean {
  if (!patternOfTopics.test(pattern)) return invalidOption(option, 'a topic, or a prefix of topics and a star', pattern)
  const prefix = pattern.slice(0, -1)
  return pattern.endsWith('*') ? (topic) => topic.startsWith(prefix) : (topic) => topic === pattern
}
