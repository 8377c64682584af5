import { OriginError, SessionCorruptError, SessionDisabledError, SessionRequiredError, SessionUnavailableError } from '../shared/errors.ts'
import type { PendingReply, ReplyListener } from '../redis/batch/pending-reply.ts'
import type { ParsedCookie, CookieChange } from './parsed-cookie.ts'
import { SessionData } from './session-data.ts'
import type { ActiveSession, SessionManager } from './session-manager.ts'
import type { LoadedSession } from './session-store.ts'
import { readSessionRecord } from './session-record.ts'
import type { SessionToken } from './session-token.ts'

/** What one request knows of its session: the outcome of the load, the token, the stored value, the data and the cookie to set. */
export class SessionRequestState implements ReplyListener<LoadedSession | undefined> {
  readonly #sessions: SessionManager
  readonly #parsedCookie: ParsedCookie
  #load: PendingReply<LoadedSession | undefined> | undefined
  /** the load is pending, or was skipped because the request was rejected before it */
  #isLoading = false
  #failure: Error | undefined
  #token: SessionToken | undefined
  #value: string | undefined
  #data: SessionData | undefined
  /** keys that the request has read */
  #reads: Set<string> | undefined
  #cookie: CookieChange | undefined
  /** without this cookie the client loses the session; false if it is only encrypted again or cleared */
  #isCookieNeeded = false
  /** token whose cookie is reissued with the next write */
  #tokenToReissue: SessionToken | undefined

  constructor (sessionManager: SessionManager, parsedCookie: ParsedCookie) {
    this.#sessions = sessionManager
    this.#parsedCookie = parsedCookie
  }

  /** Enqueues the load of the session in the cookie. */
  load (): void {
    const { token } = this.#parsedCookie
    if (token === undefined) return
    this.#isLoading = true
    this.#load = this.#sessions.load(token)
    this.#load.subscribe(this)
  }

  /** Receives the loaded session; it is ignored if the session was replaced meanwhile. */
  onReply (found: LoadedSession | undefined): void {
    const { token } = this.#parsedCookie
    const loaded = token && this.#sessions.acceptLoad(token, found)
    try {
      if (this.#isLoading && token !== undefined && loaded !== undefined) this.#useLoaded(token, loaded)
    } catch (error) {
      this.#failure = error as Error
    }
    this.#isLoading = false
  }

  /** Receives the error of the load. */
  onError (error: Error): void {
    this.#sessions.countFailedLoad()
    if (this.#isLoading) this.#failure = error
    this.#isLoading = false
  }

  /** Skips the load: the state of the session in the cookie stays unknown. */
  skipLoad (): void {
    this.#isLoading = this.#parsedCookie.token !== undefined
  }

  /** The pending load, or undefined if the session is ready. */
  get pendingLoad (): PendingReply<unknown> | undefined {
    return this.#isLoading ? this.#load : undefined
  }

  get isUnavailable (): boolean {
    return this.#failure !== undefined || this.#isLoading
  }

  get token (): SessionToken | undefined {
    return this.#token
  }

  /** the token of the session, or of the cookie if no session is active */
  get lastToken (): SessionToken | undefined {
    return this.#token ?? this.#parsedCookie.token
  }

  /** the token in the cookie, not verified */
  get unverifiedToken (): SessionToken | undefined {
    return this.#parsedCookie.token
  }

  /** tokens in further cookies of the same name */
  get conflictingTokens (): readonly SessionToken[] {
    return this.#parsedCookie.conflictingTokens ?? []
  }

  /** the stored value; undefined while no session is stored */
  get value (): string | undefined {
    return this.#value
  }

  get hasData (): boolean {
    return this.#value !== undefined || this.#data !== undefined
  }

  get hasUnsaved (): boolean {
    return this.#data?.isChanged === true
  }

  /** The data, parsed at the first use. @throws {SessionCorruptError} PRISM_ERR_SESSION_CORRUPT */
  get data (): SessionData {
    return (this.#data ??= new SessionData(this.#value === undefined ? '{}' : readSessionRecord(this.#value).document, (this.#reads ??= new Set())))
  }

  /**
   * The data to copy into a new session; undefined if it is corrupt, which does not prevent the sign-in.
   *
   * @throws {SessionUnavailableError} PRISM_ERR_SESSION_UNAVAILABLE: it could not be loaded, and a sign-in without it would end the session that has it
   */
  readableData (names: readonly string[]): SessionData | undefined {
    if (names.length === 0) return undefined
    this.assertLoaded()
    try {
      return this.data
    } catch (error) {
      if (!(error instanceof SessionCorruptError)) throw error
    }
  }

  /** Returns the unsaved changes for a save; changes made from now on belong to the next save. */
  takeUnsaved (): SessionData | undefined {
    const data = this.#data
    if (data?.isChanged !== true) return undefined
    this.#data = new SessionData(data.toText(), this.#reads)
    return data
  }

  /** The value was stored: rebases unsaved changes on it. */
  rebase (value: string, token?: SessionToken): void {
    if (token !== undefined) this.#token = token
    this.#value = value
    this.#data = this.#data?.isChanged ? this.#data.rebase(readSessionRecord(value).document, this.#sessions.policy.onConflict) : undefined
  }

  /** Replaces the session, and discards unsaved changes of the previous one. */
  activate ({ token, value }: Pick<ActiveSession, 'token' | 'value'>): void {
    this.#token = token
    this.#value = value
    this.#data = this.#reads = this.#failure = this.#tokenToReissue = undefined
    this.#isLoading = false
  }

  /** The session has ended: removes it and its cookie. @returns whether a cookie is to be cleared */
  clear (): boolean {
    this.#token = this.#value = this.#data = this.#reads = this.#failure = undefined
    this.#isLoading = false
    this.#isCookieNeeded = false
    this.#cookie = this.#parsedCookie.hasCookie ? 'clear' : undefined
    return this.#cookie !== undefined
  }

  get hasCookie (): boolean {
    return this.#cookie !== undefined && this.#isCookieNeeded
  }

  setCookie (token: SessionToken, nowMs: number): void {
    this.#isCookieNeeded = true
    this.#cookie = this.#cookieFor(token, nowMs)
  }

  /** Sets the cookie again if it was encrypted with an old key, or names two IDs of which one is no longer needed. */
  reissueCookie (nowMs: number): void {
    if (this.#tokenToReissue !== undefined && this.#cookie === undefined) this.#cookie = this.#cookieFor(this.#tokenToReissue, nowMs)
  }

  /** Returns the pending cookie change and clears it. */
  takeCookie (): CookieChange | undefined {
    const change = this.#cookie
    this.#cookie = undefined
    return change
  }

  assertEnabled (call: string): void {
    if (this.#parsedCookie.isSessionDisabled) throw new SessionDisabledError(call)
    if (this.#parsedCookie.isCrossOrigin) throw new OriginError()
  }

  assertLoaded (): void {
    if (this.#isLoading) throw unavailable(new Error('the request was rejected before its session was loaded'))
    if (this.#failure !== undefined) throw unavailable(this.#failure)
  }

  requireToken (call: string): SessionToken {
    this.assertEnabled(call)
    this.assertLoaded()
    if (this.#token === undefined) throw new SessionRequiredError()
    return this.#token
  }

  requireUserToken (call: string): SessionToken {
    const token = this.requireToken(call)
    if (token.userId === undefined) throw new SessionRequiredError()
    return token
  }

  #useLoaded (token: SessionToken, loaded: LoadedSession): void {
    const { isEarlier } = loaded
    const found = token.previousId === undefined ? token : { ...token, ...(isEarlier ? token.previousId : {}), previousId: undefined }
    this.activate({ token: found, value: loaded.value })
    // If the previous ID is live, the rotation may still execute: the cookie keeps both IDs.
    if (this.#parsedCookie.isSealedWithOldKey || (token.previousId !== undefined && !isEarlier)) this.#tokenToReissue = isEarlier ? token : found
    if (loaded.touchedAt !== undefined) this.reissueCookie(loaded.touchedAt)
  }

  #cookieFor (token: SessionToken, nowMs: number): CookieChange {
    const leftMs = readSessionRecord(this.#value ?? '').absoluteEndAt - nowMs
    return { token, maxAgeSeconds: Math.max(1, Math.floor(leftMs / 1000)) }
  }
}

/** The error for a session that cannot be used: the corruption itself, or 503. */
function unavailable (failure: Error): Error {
  return failure instanceof SessionCorruptError ? failure : Object.assign(new SessionUnavailableError('Redis is unavailable'), { cause: failure })
}
