import { hash } from 'node:crypto'

/**
 * Every key and channel that this package uses in Redis, with type, owner and lifetime.
 *
 * Braces are Cluster hash tags: what stands in them decides the slot. So every part that comes from outside is
 * percent-encoded outside `[A-Za-z0-9_.-]` (`/` and `:` stay in route patterns), and a brace in a user's id cannot steal the tag.
 */
export class Keys {
  readonly prefix: string

  /** @param prefix stands before every key and channel, for a Redis that is shared with others; '' for none */
  constructor (prefix = '') {
    this.prefix = prefix
  }

  /** A user's devices. Hash, one field a device; owner session; lives as long as its longest live device's idle time. */
  userSession (userId: string): string {
    return `${this.prefix}session:{${encodePart(userId)}}`
  }

  /** An anonymous visitor. Hash of one field; owner session; the same lifetime. `a:` cannot meet a user id, whose `:` is encoded. */
  anonymousSession (random: string): string {
    return `${this.prefix}session:{a:${encodePart(random)}}`
  }

  /**
   * Spells the keys of one route's stored responses. String; owner cache; lives 5 to 60 minutes and its stale window.
   *
   * @returns from a hash to its key; the route's part is encoded once
   */
  cacheEntry (method: string, routePattern: string): (hash: string) => string {
    const route = `${this.prefix}api:cache:${encodePart(method)}:${encodePattern(routePattern)}`
    return (hash) => `${route}:{${encodePart(hash)}}`
  }

  /** One wrapped value. String, a small JSON envelope; owner cache; the same lifetime. */
  cacheWrap (name: string, hash: string): string {
    return `${this.prefix}api:cache:wrap:${encodePart(name)}:{${encodePart(hash)}}`
  }

  /** When a tag was purged last. String, a sequence number; owner cache; lives longer than any entry. */
  cacheTag (tag: string): string {
    return `${this.prefix}api:cache:tag:${encodePart(tag)}`
  }

  /** Since when answers of a server are good, whatever their tags. String, a sequence number; owner cache; lives longer than any entry. */
  cacheEpoch (runId: string): string {
    return `${this.prefix}api:cache:epoch:${hash('sha256', runId, 'hex').slice(0, 16)}`
  }

  /** The purge sequence. String, a number that only grows; owner cache; lives longer than any entry. */
  cacheSequence (): string {
    return `${this.prefix}api:cache:seq`
  }

  /** Who is filling an entry, since which sequence. String; owner cache; lives 1 s, renewed. Shares its entry's slot. */
  cacheLock (entry: string): string {
    return `${this.prefix}api:cache:lock:${entry.slice(this.prefix.length + 'api:cache:'.length)}`
  }

  /** Tells of fills that have ended. Channel; owner cache. */
  cacheFilled (): string {
    return `${this.prefix}api:cache:filled`
  }

  /**
   * Spells the counters of one endpoint: `ratelimit:{<kind>:<who>}:<endpoint>`. String, packed; owner limit; lives a window.
   * All counters of one partition share a slot, so that several policies are one atomic call.
   * Who has a session is counted in its slot, `ratelimit:{<user id>}:<endpoint>`, so that the same call sees whether it lives.
   *
   * @param endpoint a route's `METHOD:/pattern`, or the name of a quota that several routes share
   * @returns from what is counted by (`ip`, `user`, a word of ours), who it is (from outside), and for `user` and `session` the
   *   session's own key, to the key; the endpoint is encoded once
   */
  rateLimit (endpoint: string): (kind: string, who: string, sessionKey?: string) => string {
    const start = `${this.prefix}ratelimit:{`
    const end = `}:${encodePattern(endpoint)}`
    return (kind, who, sessionKey) => {
      if (sessionKey === undefined) return `${start}${kind}:${encodePart(who)}${end}`
      const tag = sessionKey.slice(sessionKey.indexOf('{') + 1, sessionKey.indexOf('}'))
      return kind === 'user' ? `${start}${tag}${end}` : `${start}${tag}}:${kind}:${encodePart(who)}${end.slice(1)}`
    }
  }

  /** A live connection's presence. Hash; owner live; lives three heartbeats. */
  websocket (connectionId: string): string {
    return `${this.prefix}websocket:{${encodePart(connectionId)}}`
  }

  /** Which process looks after Redis's figures for all. String, its name; owner metrics; lives two looks. */
  metricsLease (): string {
    return `${this.prefix}prism:_metrics`
  }

  /** What that process saw last. String, JSON; owner metrics; lives six looks. */
  metricsSample (): string {
    return `${this.prefix}prism:_metrics:seen`
  }

  /** Whose a key is, in one word that an operator knows; `other` for what is not of this package. */
  namespaceOf (key: string): Namespace {
    if (!key.startsWith(this.prefix)) return 'other'
    const start = starts.find(([, text]) => key.startsWith(text, this.prefix.length))
    return start?.[0] ?? 'other'
  }

  /** A topic's channel. Owner events. */
  topicChannel (topic: string): string {
    return `${this.prefix}prism:${encodeTopic(topic)}`
  }

  /** A topic's log. Stream; owner events; lives 10 minutes after the last event or position check. */
  topicLog (topic: string): string {
    return `${this.prefix}prism:${encodeTopic(topic)}:log`
  }
}

/** The parts of the key space that are told apart. */
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

const outside = /[^A-Za-z0-9_.-]/
const escape = (text: string, pattern: RegExp) =>
  text.replace(pattern, (character) => Array.from(Buffer.from(character), (byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`).join(''))

/** Percent-encodes a part that comes from outside; most parts need none, and cost one test. */
export function encodePart (part: string): string {
  return outside.test(part) ? escape(part, /[^A-Za-z0-9_.-]/gu) : part
}

function encodePattern (routePattern: string): string {
  return escape(routePattern, /[^A-Za-z0-9_.\-/:]/gu)
}

/** A topic's `:` stays, as in `user:42`: it is part of the channel names that other services share. */
function encodeTopic (topic: string): string {
  return escape(topic, /[^A-Za-z0-9_.\-:]/gu)
}
