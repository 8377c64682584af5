/** Decorator of requests, for the stack's own parts: a symbol, which no name of an app or of another plugin can collide with. A read of it is no use of the session. */
export const sessionIdentity: unique symbol = Symbol('prism.session-identity')
/** Decorator of requests: the session that the encrypted cookie names, before Redis has verified it. */
export const unverifiedSession: unique symbol = Symbol('prism.unverified-session')

/** What other parts read of a request's session. */
interface SessionIdentity {
  /** `live`: a user is signed in; `unavailable`: it is not known now */
  readonly state: 'anonymous' | 'live' | 'unavailable'
  readonly userId: string | undefined
  /** public device ID */
  readonly id: string | undefined
  /** from the cookie, before the lookup */
  readonly unverified: { readonly userId: string | undefined, readonly id: string } | undefined
}

/** The session that a request's encrypted cookie names. Redis decides whether it is valid. */
export interface UnverifiedSession {
  readonly userId: string | undefined
  /** key of its hash in Redis */
  readonly key: string
  /** its fields in that hash; the first that exists counts */
  readonly devices: readonly string[]
  /** set if sessions and counters are in different Redis servers: resolves whether the session is valid */
  readonly confirm?: (() => Promise<boolean>) | undefined
}

/** A request of an app that may have sessions. Without them both properties are absent. */
export interface RequestWithIdentity {
  readonly [sessionIdentity]?: SessionIdentity
  readonly [unverifiedSession]?: UnverifiedSession | undefined
}
