import type { SessionToken } from './session-token.ts'

/** A change of the session cookie: set a token with a maximum age, or clear the cookie. */
export type CookieChange = { token: SessionToken, maxAgeSeconds: number } | 'clear'

/** The session cookie of a request, and whether the request may use a session. */
export interface ParsedCookie {
  /** token in the cookie */
  readonly token?: SessionToken | undefined
  /** tokens of several different cookies with the session's name. None is used, because one may have been planted; a sign-out ends all */
  readonly conflictingTokens?: readonly SessionToken[] | undefined
  /** encrypted with an old secret: the cookie is encrypted again at the next session write */
  readonly isSealedWithOldKey?: boolean
  /** the request has a session cookie, valid or not */
  readonly hasCookie?: boolean
  /** the route has session: false */
  readonly isSessionDisabled?: boolean
  /** cross-origin request: its cookie is not read, and it cannot create or end a session */
  readonly isCrossOrigin?: boolean
}
