import { readPattern } from '../events/options.ts'
import { readOrigins } from '../http/origin.ts'
import { readCount, readDuration, readPath, readRecord, readStrings, invalidOption } from '../shared/option-readers.ts'
import type { Duration } from '../shared/option-readers.ts'

/** The user of a connection. */
export interface LiveUser {
  /** undefined: not signed in */
  readonly userId: string | undefined
}

/** Authorizes subscriptions: every client, signed-in users, the user whose ID the star matches, or a function. */
export type TopicRule = 'anyone' | 'signed-in' | 'owner' | ((user: LiveUser, topic: string) => boolean)

/** The paths that live connections are served at. The prefix of the scope comes before each. */
export interface LivePaths {
  /** the WebSocket; default `/live` */
  readonly websocket: string
  /** the event stream; default `/events` */
  readonly stream: string
  /** the WebSocket client, an ES module; default `/live.js` */
  readonly client: string
}

/** Options of live connections. */
export interface LiveOptions {
  /** paths of the routes; default `{ websocket: '/live', stream: '/events', client: '/live.js' }` */
  paths?: Partial<LivePaths>
  /** exact origins that may open WebSockets with a session, besides the request's own and those of `session.trustedOrigins`; default none */
  origins?: readonly string[]
  /** rules by topic, or by a prefix and a star; the first match applies, and topics without a match are forbidden; default `{ events: 'anyone', 'user:*': 'owner' }` */
  topics?: Readonly<Record<string, TopicRule>>
  /** topics with presence events, `presence.joined` and `presence.left`; default none */
  presence?: readonly string[]
  /** interval of pings and of renewals in Redis, with 20% jitter; a client without a pong until the next ping is disconnected; default 25 s */
  heartbeat?: Duration
  /** how long a process distributes the closing of its connections at shutdown; default 2.5 s */
  drain?: Duration
  /** connections of one user per process; default 20 */
  connectionsPerUser?: number
  /** connections of one address per process; as in rate limits, an IPv6 subnet is one address; default 100 */
  connectionsPerAddress?: number
  /** replayed events per second for one user, or for the anonymous clients of one address; bursts of eight times as many; default 256 */
  replayedEventsPerSecond?: number
}

/** {@link LiveOptions} after defaults and checks. */
export interface LivePolicy {
  readonly paths: LivePaths
  readonly origins: readonly string[]
  readonly heartbeatMs: number
  readonly drainMs: number
  readonly connectionsPerUser: number
  readonly connectionsPerAddress: number
  readonly replayedEventsPerSecond: number
  readonly mayFollow: (user: LiveUser, topic: string) => boolean
  readonly hasPresence: (topic: string) => boolean
}

/** Fixed limits of a connection. */
export const bounds = Object.freeze({
  frameBytes: 16_384,
  fragments: 64,
  topicsPerConnection: 50,
  /** unsent bytes; a slower client is disconnected and resumes */
  bufferedBytes: 1_048_576,
  framesPerSecond: 20,
  framesAtOnce: 100,
  /** Railway ends requests after 15 minutes */
  streamMs: 13 * 60_000
})

/**
 * Resolves the options of live connections.
 *
 * @throws {OptionError} PRISM_ERR_OPTION
 */
export function resolveLivePolicy (options: LiveOptions = {}): LivePolicy {
  readRecord('live', options, ['paths', 'origins', 'topics', 'presence', 'heartbeat', 'drain', 'connectionsPerUser', 'connectionsPerAddress', 'replayedEventsPerSecond'])
  const patterns = readStrings('live.presence', options.presence ?? []).map((pattern) => readPattern('live.presence', pattern))
  return Object.freeze({
    paths: readPaths(options.paths ?? {}),
    origins: readOrigins('live.origins', options.origins ?? []),
    heartbeatMs: readDuration('live.heartbeat', options.heartbeat ?? '25s'),
    drainMs: readDuration('live.drain', options.drain ?? '2500ms'),
    connectionsPerUser: readCount('live.connectionsPerUser', options.connectionsPerUser ?? 20),
    connectionsPerAddress: readCount('live.connectionsPerAddress', options.connectionsPerAddress ?? 100),
    replayedEventsPerSecond: readCount('live.replayedEventsPerSecond', options.replayedEventsPerSecond ?? 256),
    mayFollow: readRules(options.topics ?? { events: 'anyone', 'user:*': 'owner' }),
    hasPresence: (topic: string) => patterns.some((matches) => matches(topic))
  })
}

/** The prefix of internal topics, to which clients cannot subscribe. */
export const ownTopics = '_'

function readPaths (paths: Partial<LivePaths>): LivePaths {
  const { websocket = '/live', stream = '/events', client = '/live.js' } = readRecord('live.paths', paths, ['websocket', 'stream', 'client'])
  return Object.freeze({ websocket: readPath('live.paths.websocket', websocket), stream: readPath('live.paths.stream', stream), client: readPath('live.paths.client', client) })
}

function readRules (topics: Readonly<Record<string, TopicRule>>): LivePolicy['mayFollow'] {
  const rules = Object.entries(topics).map(([pattern, rule]) => {
    const option = `live.topics.${pattern}`
    return { matches: readPattern(option, pattern), allows: readRule(option, rule, pattern) }
  })
  return (user, topic) => !topic.startsWith(ownTopics) && rules.find(({ matches }) => matches(topic))?.allows(user, topic) === true
}

function readRule (option: string, rule: unknown, pattern: string): LivePolicy['mayFollow'] {
  if (rule === 'anyone') return () => true
  if (rule === 'signed-in') return ({ userId }) => userId !== undefined
  if (rule === 'owner' && pattern.endsWith('*')) return ({ userId }, topic) => userId !== undefined && isOwnTopic(topic, pattern.slice(0, -1), userId)
  if (typeof rule === 'function') return rule as LivePolicy['mayFollow']
  return invalidOption(option, "'anyone', 'signed-in', 'owner' (for a pattern with a star) or a function", rule)
}

/** Whether a topic ends with a user's ID, as it is or percent-encoded. An ID with `%` must be encoded: otherwise two users could have one topic. */
function isOwnTopic (topic: string, prefix: string, userId: string): boolean {
  const own = topic.slice(prefix.length)
  return (own === userId && !userId.includes('%')) || own === encodeURIComponent(userId).replaceAll('*', '%2A')
}
