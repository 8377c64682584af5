import type { SessionToken } from './session-token.ts'

/** What a reply shall do to the cookie: hold this ticket for so long, or hold nothing. */
export type CookieChange = { token: SessionToken, maxAgeSeconds: number } | 'clear'

/** How a request came. */
export interface ParsedCookie {
  /** what its cookie names */
  readonly token?: SessionToken | undefined
  /** what several cookies of the name hold, none of which counts: who signs out means all of them */
  readonly conflictingTokens?: readonly SessionToken[] | undefined
  /** the cookie shall be sealed anew when the session is next written */
  readonly isSealedWithOldKey?: boolean
  /** a cookie came, whatever it holds */
  readonly hasCookie?: boolean
  /** the route wants no session */
  readonly isSessionDisabled?: boolean
  /** a page of another origin sent the request: its cookie is not looked at, and no session may begin or end by it */
  readonly isForeign?: boolean
}
