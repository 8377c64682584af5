import { hash } from 'node:crypto'

/**
 * Every key and channel that this package uses in Redis, with type, owner and lifetime.
 *
 * Text in braces is the Cluster hash tag, which determines the slot. External parts are percent-encoded except for `[A-Za-z0-9_.-]` (and `/` and `:` in
 * route patterns), so a brace in a user ID cannot change the hash tag.
 */
export class Keys {
  readonly prefix: string

  /** @param prefix of every key and channel, for a Redis that other apps share; '' for none */
  constructor (prefix = '') {
    this.prefix = prefix
  }

  /** The sessions of a user. Hash, one field per device; owner session; expires with the device that expires last. */
  userSession (userId: string): string {
    return `${this.prefix}session:{${encodePart(userId)}}`
  }

  /** An anonymous session. Hash with one field; owner session; same lifetime. `a:` cannot collide with a user ID, whose `:` is encoded. */
  anonymousSession (random: string): string {
    return `${this.prefix}session:{a:${encodePart(random)}}`
  }

  /**
   * Keys of one route's stored responses. String; owner cache; lifetime the route's `ttl` plus the longer stale window, or 10 minutes if it has a validator.
   *
   * @returns a function from a hash to its key; the route is encoded once
   */
  cacheEntry (method: string, routePattern: string): (hash: string) => string {
    const route = `${this.prefix}api:cache:${encodePart(method)}:${encodePattern(routePattern)}`
    return (hash) => `${route}:{${encodePart(hash)}}`
  }

  /** A value of `cache.wrap`. String, a small JSON envelope; owner cache; lifetime its `ttl`. */
  cacheWrap (name: string, hash: string): string {
    return `${this.prefix}api:cache:wrap:${encodePart(name)}:{${encodePart(hash)}}`
  }

  /** A tag version: the sequence of the last purge of the tag. String; owner cache; lifetime longer than any entry. */
  cacheTag (tag: string): string {
    return `${this.prefix}api:cache:tag:${encodePart(tag)}`
  }

  /** The epoch of a server: entries with a lower sequence are not used, whatever their tags. String; owner cache; lifetime longer than any entry. */
  cacheEpoch (runId: string): string {
    return `${this.prefix}api:cache:epoch:${hash('sha256', runId, 'hex').slice(0, 16)}`
  }

  /** The purge sequence. String, an increasing number; owner cache; lifetime longer than any entry. */
  cacheSequence (): string {
    return `${this.prefix}api:cache:seq`
  }

  /** The fill lock of an entry, with its owner and purge sequence. String; owner cache; lifetime 1 s, extended. Same slot as the entry. */
  cacheLock (entry: string): string {
    return `${this.prefix}api:cache:lock:${entry.slice(this.prefix.length + 'api:cache:'.length)}`
  }

  /** Announces fills that have ended. Channel; owner cache. */
  cacheFilled (): string {
    return `${this.prefix}api:cache:filled`
  }

  /**
   * Counters of one endpoint: `ratelimit:{<kind>:<id>}:<endpoint>`. String, packed; owner rate limit; lifetime one window.
   * All counters of one partition share a slot, so that several policies are one atomic call.
   * A session's counters are in the slot of the session, `ratelimit:{<user id>}:<endpoint>`, so that the same call can check whether it is valid.
   *
   * @param endpoint a route's `METHOD:/pattern`, or the name of a quota that several routes share
   * @returns a function from the partition's kind (`ip`, `user`, …), its ID (external), and for `user` and `session` the session's
   *   own key, to the counter's key; the endpoint is encoded once
   */
  rateLimit (endpoint: string): (kind: string, id: string, sessionKey?: string) => string {
    const start = `${this.prefix}ratelimit:{`
    const end = `}:${encodePattern(endpoint)}`
    return (kind, id, sessionKey) => {
      if (sessionKey === undefined) return `${start}${kind}:${encodePart(id)}${end}`
      const tag = sessionKey.slice(sessionKey.indexOf('{') + 1, sessionKey.indexOf('}'))
      return kind === 'user' ? `${start}${tag}${end}` : `${start}${tag}}:${kind}:${encodePart(id)}${end.slice(1)}`
    }
  }

  /** The quotas of the app, for operators' tools. String, JSON; owner rate limit; lifetime a day, renewed every minute. */
  rateLimitQuotas (): string {
    return `${this.prefix}prism:_quotas`
  }

  /** Presence of a live connection. Hash; owner live; lifetime three heartbeats. */
  websocket (connectionId: string): string {
    return `${this.prefix}websocket:{${encodePart(connectionId)}}`
  }

  /** The lease of the process that collects Redis metrics for all. String, its name; owner metrics; lifetime 2.4 collection intervals. */
  metricsLease (): string {
    return `${this.prefix}prism:_metrics`
  }

  /** The names of the apps that use this prefix. Hash, name and time of the last announcement in ms; owner redis; lifetime 15 minutes. */
  apps (): string {
    return `${this.prefix}prism:_apps`
  }

  /** The processes of the app. Sorted set of JSON, scored by the last call; owner metrics; lifetime 2.4 collection intervals. */
  metricsProcesses (): string {
    return `${this.prefix}prism:_metrics:processes`
  }

  /** The last collected Redis metrics. String, JSON; owner metrics; lifetime six collection intervals. */
  metricsSample (): string {
    return `${this.prefix}prism:_metrics:seen`
  }

  /** The namespace of a key; `other` for a key that does not belong to this package. */
  namespaceOf (key: string): Namespace {
    if (!key.startsWith(this.prefix)) return 'other'
    const start = starts.find(([, text]) => key.startsWith(text, this.prefix.length))
    return start?.[0] ?? 'other'
  }

  /** A topic's channel. Owner events. */
  topicChannel (topic: string): string {
    return `${this.prefix}prism:${encodeTopic(topic)}`
  }

  /** A topic's log. Stream; owner events; lifetime `events.retain.time` (default 10 minutes) after the last event or position check. */
  topicLog (topic: string): string {
    return `${this.prefix}prism:${encodeTopic(topic)}:log`
  }
}

/** Parts of the keyspace that metrics and the CLI distinguish. */
export const namespaces = ['session', 'cache', 'tag', 'ratelimit', 'websocket', 'events', 'other'] as const
export type Namespace = typeof namespaces[number]

const starts: readonly (readonly [Namespace, string])[] = [
  ['session', 'session:'],
  ['tag', 'api:cache:tag:'],
  ['tag', 'api:cache:seq'],
  ['tag', 'api:cache:epoch:'],
  ['cache', 'api:cache:'],
  ['ratelimit', 'ratelimit:'],
  ['websocket', 'websocket:'],
  ['events', 'prism:']
]

const unsafe = /[^A-Za-z0-9_.-]/
const percentEncode = (character: string) => Array.from(Buffer.from(character), (byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`).join('')
const encodedAscii = Array.from({ length: 128 }, (_, code) => percentEncode(String.fromCharCode(code)))
const escape = (text: string, pattern: RegExp) => text.replace(pattern, (character) => encodedAscii[character.codePointAt(0) ?? 0] ?? percentEncode(character))

/** Percent-encodes an external part. Most parts need no encoding, and cost one test. */
export function encodePart (part: string): string {
  return unsafe.test(part) ? escape(part, /[^A-Za-z0-9_.-]/gu) : part
}

function encodePattern (routePattern: string): string {
  return escape(routePattern, /[^A-Za-z0-9_.\-/:]/gu)
}

const unsafeInTopic = /[^A-Za-z0-9_.\-:]/

/** A topic's `:` is not encoded, as in `user:42`: it is part of the channel names that other services use. */
function encodeTopic (topic: string): string {
  return unsafeInTopic.test(topic) ? escape(topic, /[^A-Za-z0-9_.\-:]/gu) : topic
}
