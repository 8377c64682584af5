import { readCount, readDuration, readRecord, readBoolean, readString, invalidOption } from '../shared/option-readers.ts'
import type { Duration } from '../shared/option-readers.ts'
import type { NewEvent } from './event.ts'
import { compileSchemas } from './schemas.ts'
import type { EventSchemas } from './schemas.ts'

/** How the bus keeps its events. */
export interface EventsOptions {
  /** what events name as their CloudEvents source, a URI reference; default `fastify-prism` */
  source?: string
  /** events that each topic keeps for those who resume, or somewhat more; default 1000 */
  history?: number
  /** other histories, by topic or by its beginning and a star: `{ 'user:*': 100 }`; the first that fits counts */
  histories?: Readonly<Record<string, number>>
  /** how long a topic is kept after its last event, while nobody listens; default 10 min */
  lifetime?: Duration
  /** topics that one process listens to at once; default 10,000 */
  maxTopics?: number
  /** JSON schemas of the data of events, by type: `{ 'city.noted': { type: 'object', … } }` */
  schemas?: EventSchemas
  /** whether events are held against their schemas when they are published; switch it off in production; default true */
  validate?: boolean
}

/** {@link EventsOptions} after defaults and checks. */
export interface EventsPolicy {
  readonly source: string
  readonly lifetimeMs: number
  readonly maxTopics: number
  /** throws {EventError} PRISM_ERR_EVENT for data that is not as its schema says */
  readonly check: (event: NewEvent) => void
  /** how many events a topic keeps */
  readonly historyOf: (topic: string) => number
}

/** Listeners check, and renew, a log each 5 s: less than two of those would lose it under them. */
const shortestLifetimeMs = 15_000

/**
 * Checks how the bus keeps its events.
 *
 * @throws {OptionError} PRISM_ERR_OPTION
 */
export function resolveEventsPolicy (options: EventsOptions = {}): EventsPolicy {
  readRecord('events', options, ['source', 'history', 'histories', 'lifetime', 'maxTopics', 'schemas', 'validate'])
  const lifetimeMs = readDuration('events.lifetime', options.lifetime ?? '10m')
  if (lifetimeMs < shortestLifetimeMs) invalidOption('events.lifetime', 'at least 15 s', options.lifetime)
  return Object.freeze({
    source: readString('events.source', options.source ?? 'fastify-prism'),
    lifetimeMs,
    maxTopics: readCount('events.maxTopics', options.maxTopics ?? 10_000),
    check: readBoolean('events.validate', options.validate ?? true) ? compileSchemas(options.schemas ?? {}) : () => {},
    historyOf: readHistories(readCount('events.history', options.history ?? 1000, { max: 1_000_000 }), options.histories ?? {})
  })
}

function readHistories (fallback: number, histories: Readonly<Record<string, number>>): (topic: string) => number {
  const rules = Object.entries(histories).map(([pattern, history]) => ({
    fits: readPattern(`events.histories.${pattern}`, pattern),
    history: readCount(`events.histories.${pattern}`, history, { max: 1_000_000 })
  }))
  return (topic) => rules.find(({ fits }) => fits(topic))?.history ?? fallback
}

/**
 * Reads a pattern of topics: a topic's name, or how it begins and a star.
 *
 * @throws {OptionError} PRISM_ERR_OPTION
 */
export function readPattern (option: string, pattern: string): (topic: string) => boolean {
  if (!/^(?=.)[A-Za-z0-9_.:-]*\*?$/.test(pattern)) return invalidOption(option, 'named by a topic, or by how topics begin and a star', pattern)
  const beginning = pattern.slice(0, -1)
  return pattern.endsWith('*') ? (topic) => topic.startsWith(beginning) : (topic) => topic === pattern
}
