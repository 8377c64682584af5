import { readPattern } from '../events/options.ts'
import { readOrigins } from '../http/origin.ts'
import { readCount, readDuration, readRecord, readStrings, invalidOption } from '../shared/option-readers.ts'
import type { Duration } from '../shared/option-readers.ts'

/** Who opened a connection. */
export interface LiveUser {
  /** undefined: nobody is signed in */
  readonly userId: string | undefined
}

/** Who may follow topics: everybody, whoever is signed in, the user whose id stands in the star's place, or as a function says. */
export type TopicRule = 'anyone' | 'signed-in' | 'owner' | ((visitor: LiveUser, topic: string) => boolean)

/** What live connections may do. */
export interface LiveOptions {
  /** exact origins of pages that may open WebSockets, besides the request's own and those of `session.trustedOrigins`; default none */
  origins?: readonly string[]
  /** by topic, or by how topics begin and a star; the first that fits counts, and what fits none is forbidden. Default `{ events: 'anyone', 'user:*': 'owner' }` */
  topics?: Readonly<Record<string, TopicRule>>
  /** topics that tell their followers who comes and goes: `presence.joined`, `presence.left`; default none */
  presence?: readonly string[]
  /** how often both ends are asked whether they live, a fifth more or less; who is silent for two is gone; default 25 s */
  heartbeat?: Duration
  /** how long a stopping process takes to send its connections away; default 2.5 s */
  drain?: Duration
  /** connections of one user in each process; default 20 */
  connectionsPerUser?: number
  /** connections of one client in each process, counted as rate limits count addresses: an IPv6 network is one client; default 100 */
  connectionsPerAddress?: number
  /** past events that one user, or the anonymous of one client, are sent a second when they resume, eight times as many at once; default 256 */
  replayedEventsPerSecond?: number
}

/** {@link LiveOptions} after defaults and checks. */
export interface LivePolicy {
  readonly origins: readonly string[]
  readonly heartbeatMs: number
  readonly drainMs: number
  readonly connectionsPerUser: number
  readonly connectionsPerAddress: number
  readonly replayedEventsPerSecond: number
  readonly mayFollow: (visitor: LiveUser, topic: string) => boolean
  readonly hasPresence: (topic: string) => boolean
}

/** What one connection, and what all of them, may take. */
export const bounds = Object.freeze({
  frameBytes: 16_384,
  fragments: 64,
  topicsPerConnection: 50,
  /** unsent bytes: who reads slower is sent away, and resumes */
  bufferedBytes: 1_048_576,
  framesPerSecond: 20,
  framesAtOnce: 100,
  /** Railway ends requests after 15 minutes */
  streamMs: 13 * 60_000
})

/**
 * Checks what live connections may do.
 *
 * @throws {OptionError} PRISM_ERR_OPTION
 */
export function resolveLivePolicy (options: LiveOptions = {}): LivePolicy {
  readRecord('live', options, ['origins', 'topics', 'presence', 'heartbeat', 'drain', 'connectionsPerUser', 'connectionsPerAddress', 'replayedEventsPerSecond'])
  const patterns = readStrings('live.presence', options.presence ?? []).map((pattern) => readPattern('live.presence', pattern))
  return Object.freeze({
    origins: readOrigins('live.origins', options.origins ?? []),
    heartbeatMs: readDuration('live.heartbeat', options.heartbeat ?? '25s'),
    drainMs: readDuration('live.drain', options.drain ?? '2500ms'),
    connectionsPerUser: readCount('live.connectionsPerUser', options.connectionsPerUser ?? 20),
    connectionsPerAddress: readCount('live.connectionsPerAddress', options.connectionsPerAddress ?? 100),
    replayedEventsPerSecond: readCount('live.replayedEventsPerSecond', options.replayedEventsPerSecond ?? 256),
    mayFollow: readRules(options.topics ?? { events: 'anyone', 'user:*': 'owner' }),
    hasPresence: (topic: string) => patterns.some((fits) => fits(topic))
  })
}

/** Topics that begin so are between processes. */
export const ownTopics = '_'

function readRules (topics: Readonly<Record<string, TopicRule>>): LivePolicy['mayFollow'] {
  const rules = Object.entries(topics).map(([pattern, rule]) => {
    const option = `live.topics.${pattern}`
    return { fits: readPattern(option, pattern), allows: readRule(option, rule, pattern) }
  })
  return (visitor, topic) => !topic.startsWith(ownTopics) && rules.find(({ fits }) => fits(topic))?.allows(visitor, topic) === true
}

function readRule (option: string, rule: unknown, pattern: string): LivePolicy['mayFollow'] {
  if (rule === 'anyone') return () => true
  if (rule === 'signed-in') return ({ userId }) => userId !== undefined
  if (rule === 'owner' && pattern.endsWith('*')) return ({ userId }, topic) => userId !== undefined && topic === `${pattern.slice(0, -1)}${userId}`
  if (typeof rule === 'function') return rule as LivePolicy['mayFollow']
  return invalidOption(option, "'anyone', 'signed-in', 'owner' (of a pattern with a star) or a function", rule)
}
