import { OriginError, RedisUnavailableError, SessionCorruptError, SessionEndedError, SessionDisabledError, SessionRequiredError, SessionSentError } from '../shared/errors.ts'
import type { PendingReply, ReplyListener } from '../redis/batch/pending-reply.ts'
import type { ParsedCookie, CookieChange } from './parsed-cookie.ts'
import { rejectAssignments } from './assignment.ts'
import { readNewSession, readUserId } from './new-session.ts'
import { moveSession } from './keep-on-sign-in.ts'
import { SessionData } from './session-data.ts'
import type { ActiveSession, SessionManager } from './session-manager.ts'
import { isHeadSent, isOver } from './reply-monitor.ts'
import type { MonitoredReply, MonitoredSession } from './reply-monitor.ts'
import type { Device, Frozen, Session, SessionState, SignInOptions } from './session.ts'
import type { LoadedSession } from './session-store.ts'
import { readSessionRecord } from './session-record.ts'
import { anonymousSubject, deviceOf, newToken, userSubject } from './session-token.ts'
import type { SessionToken } from './session-token.ts'
import { unavailable } from './session-unavailable.ts'

/** The session of one request, from load to save. Its Redis writes are serialized. */
export class RequestSession<Data extends object> implements Session<Data>, ReplyListener<LoadedSession | undefined>, MonitoredSession {
  readonly #sessions: SessionManager
  readonly #cookieState: ParsedCookie
  readonly #reply: MonitoredReply | undefined
  #isMonitored = false
  #isClosed = false
  #loading: PendingReply<LoadedSession | undefined> | undefined
  /** the load is pending, or was skipped because the request was rejected before it */
  #isLoading = false
  #failure: Error | undefined
  #token: SessionToken | undefined
  #value: string | undefined
  #data: SessionData | undefined
  #cookie: CookieChange | undefined
  /** without this cookie the client loses the session; false if it is only encrypted again or cleared */
  #isCookieNeeded = false
  /** token whose cookie is reissued with the next write */
  #tokenToReissue: SessionToken | undefined
  #pendingWork: Promise<unknown> | undefined
  /** keys that the request has read */
  #reads: Set<string> | undefined

  /** @param reply the reply with which the session is saved */
  constructor (sessionManager: SessionManager, parsedCookie: ParsedCookie, reply?: MonitoredReply) {
    this.#sessions = sessionManager
    this.#cookieState = parsedCookie
    this.#reply = reply
  }

  /** Enqueues the load of the session in the cookie. */
  ask (): void {
    const { token } = this.#cookieState
    if (token === undefined) return
    this.#isLoading = true
    this.#loading = this.#sessions.load(token)
    this.#loading.subscribe(this)
  }

  /** Receives the loaded session; it is ignored if the session was replaced meanwhile. */
  onReply (found: LoadedSession | undefined): void {
    const { token } = this.#cookieState
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
    this.#sessions.missed()
    if (this.#isLoading) this.#failure = error
    this.#isLoading = false
  }

  /** Skips the load: the state of the session in the cookie stays unknown. */
  skipLoad (): void {
    this.#isLoading = this.#cookieState.token !== undefined
  }

  /** The pending load, or undefined if the session is ready. */
  answer (): PendingReply<unknown> | undefined {
    return this.#isLoading ? this.#loading : undefined
  }

  /** @throws {SessionRequiredError} PRISM_ERR_SESSION_REQUIRED, or the error that prevented the load */
  require (): void {
    this.#assertLoaded()
    if (this.userId === undefined) throw new SessionRequiredError()
  }

  /** Whether no operation is pending and nothing has to be saved. */
  get isSettled (): boolean {
    return this.#pendingWork === undefined && !this.hasUnsaved
  }

  get hasUnsaved (): boolean {
    return this.#data?.isChanged === true
  }

  get hasCookie (): boolean {
    return this.#cookie !== undefined && this.#isCookieNeeded
  }

  get isClosed (): boolean {
    return this.#isClosed
  }

  /** Marks the onSend save as finished: later changes are saved only by a call of save(). */
  close (): void {
    this.#isClosed = true
    // Changed during that save.
    if (this.hasUnsaved && this.#reply !== undefined) this.#sessions.replyMonitor?.changedLate(this, this.#reply)
  }

  async idle (): Promise<void> {
    await this.#pendingWork?.catch(() => {})
  }

  /** Returns the pending cookie change and clears it. */
  takeCookie (): CookieChange | undefined {
    const change = this.#cookie
    this.#cookie = undefined
    return change
  }

  get state (): SessionState {
    if (this.#failure !== undefined || this.#isLoading) return 'unavailable'
    return this.userId === undefined ? 'anonymous' : 'live'
  }

  get id (): string | undefined {
    return this.#token && deviceOf(this.#token)
  }

  get userId (): string | undefined {
    return this.#token?.userId
  }

  /** User and session ID from the cookie, before the lookup. Unverified: do not use it for authorization. */
  get claim (): { readonly userId: string | undefined, readonly id: string } | undefined {
    const { token } = this.#cookieState
    return token && { userId: token.userId, get id () { return deviceOf(token) } }
  }

  get isNew (): boolean {
    return this.#value === undefined
  }

  get<Key extends keyof Data & string> (key: Key): Frozen<Data[Key]> | undefined {
    if (this.#value === undefined && this.#data === undefined) return undefined
    return this.#open().get(key) as Frozen<Data[Key]> | undefined
  }

  set<Key extends keyof Data & string> (key: Key, value: Data[Key]): void {
    this.#openToWrite('set()').set(key, value)
  }

  update<Key extends keyof Data & string> (key: Key, change: (value: Data[Key] | undefined) => Data[Key] | undefined): Frozen<Data[Key]> | undefined {
    return this.#openToWrite('update()').update(key, (value) => change(value as Data[Key] | undefined)) as Frozen<Data[Key]> | undefined
  }

  delete (key: keyof Data & string): void {
    this.#openToWrite('delete()').delete(key)
  }

  async save (): Promise<void> {
    if (!this.isSettled) await this.#serialize(() => this.#save())
  }

  async signIn (userId: string, options: SignInOptions<Data> = {}): Promise<void> {
    this.#assertEnabled('signIn()')
    const subject = userSubject(readUserId(userId))
    const newSession = readNewSession(options, this.#sessions.policy)
    this.#assertHeadersNotSent('signIn()')
    await this.#serialize(async () => {
      const before = this.#token ?? this.#cookieState.token
      const replaced = before?.userId === userId ? before.createdAt : undefined
      const data = this.#readable(options.keep ?? [])
      const from = data && this.#token !== undefined && this.#value !== undefined ? { token: this.#token, value: this.#value, data } : undefined
      const active = from === undefined
        ? await this.#sessions.begin(subject, { ...newSession, document: data?.carry(options.keep ?? [], '{}', this.#sessions.policy.onConflict).toText() ?? '{}', replaced })
        : await moveSession(this.#sessions, from, subject, newSession, options.keep ?? [])
      this.#activate(active)
      this.#setCookie(active.token, active.nowMs)
      if (from === undefined && before !== undefined && replaced === undefined) await this.#sessions.endReplaced(before)
    })
  }

  async signOut (): Promise<void> {
    this.#assertEnabled('signOut()')
    await this.#serialize(async () => {
      const { token, conflictingTokens = [] } = this.#cookieState
      for (const each of [this.#token ?? token, ...conflictingTokens]) if (each !== undefined) await this.#sessions.end(each)
      this.#clear()
    })
  }

  async rotate (): Promise<void> {
    const { userId, subject, createdAt } = this.#requireToken('rotate()')
    this.#assertHeadersNotSent('rotate()')
    await this.#serialize(async () => {
      await this.#save()
      const token = this.#requireToken('rotate()')
      const next = newToken(this.#sessions.keys, { userId, subject }, createdAt)
      const active = await this.#sessions.rotate(token, next).catch((error) => {
        // The outcome is unknown: a cookie with both IDs finds the session in either case.
        if (error instanceof RedisUnavailableError) this.#setCookie({ ...next, previousId: token }, readSessionRecord(this.#value ?? '').seenAt)
        throw error
      })
      if (active === undefined) throw new SessionEndedError()
      this.#rebase(active.value)
      this.#token = next
      this.#setCookie(next, active.nowMs)
    })
  }

  async devices (): Promise<Device[]> {
    const user = this.#requireUser('devices()')
    return await this.#sessions.devicesAt(user.key, user)
  }

  async revoke (id: string): Promise<boolean> {
    this.#requireUser('revoke()')
    return await this.#serialize(async () => {
      const wasAlive = await this.#sessions.endDevice(this.#requireUser('revoke()'), id)
      if (id === this.id) this.#clear()
      return wasAlive
    })
  }

  async revokeOthers (): Promise<number> {
    this.#requireUser('revokeOthers()')
    return await this.#serialize(async () => await this.#sessions.endOthers(this.#requireUser('revokeOthers()')))
  }

  /** Runs operations one after the other: a save must not race with a sign-out of the same request. */
  #serialize<Result> (work: () => Promise<Result>): Promise<Result> {
    // The caller of the previous operation handles its error.
    const pending = this.#pendingWork === undefined ? work() : this.#pendingWork.then(work, work)
    return (this.#pendingWork = pending)
  }

  async #save (): Promise<void> {
    const data = this.#data
    if (data === undefined || !data.isChanged) return
    if (this.#token === undefined) this.#assertHeadersNotSent('save()')
    // Changes made during this save belong to the next save.
    this.#data = new SessionData(data.toText(), this.#reads)
    if (this.#token === undefined || this.#value === undefined) {
      // Never adopt an unknown ID from a cookie: an attacker may have planted it (session fixation).
      const { idleMs, absoluteMs } = this.#sessions.policy
      const active = await this.#sessions.begin(anonymousSubject(), { idleMs, absoluteMs, label: undefined, document: data.toText() })
      this.#token = active.token
      this.#rebase(active.value)
      this.#setCookie(active.token, active.nowMs)
    } else {
      const value = await this.#sessions.saveQueue.save(this.#token, this.#value, data)
      this.#rebase(value)
      this.#reissueCookie(readSessionRecord(value).seenAt)
    }
  }

  /** Rebases unsaved changes on the stored value. */
  #rebase (value: string): void {
    this.#value = value
    this.#data = this.#data?.isChanged ? this.#data.rebase(readSessionRecord(value).document, this.#sessions.policy.onConflict) : undefined
  }

  #open (): SessionData {
    return (this.#data ??= new SessionData(this.#value === undefined ? '{}' : readSessionRecord(this.#value).document, (this.#reads ??= new Set())))
  }

  /** The data to copy into a new session; undefined if it cannot be read, which does not prevent the sign-in. */
  #readable (names: readonly string[]): SessionData | undefined {
    try {
      if (names.length > 0 && this.state !== 'unavailable') return this.#open()
    } catch (error) {
      if (!(error instanceof SessionCorruptError)) throw error
    }
  }

  #openToWrite (call: string): SessionData {
    this.#assertEnabled(call)
    this.#assertLoaded()
    this.#monitor()
    if (this.#reply !== undefined && (this.#isClosed || isOver(this.#reply))) this.#sessions.replyMonitor?.changedLate(this, this.#reply)
    return this.#open()
  }

  /** Monitors the reply only of requests that change the session: most do not. */
  #monitor (): void {
    if (this.#isMonitored || this.#reply === undefined) return
    this.#isMonitored = true
    this.#sessions.replyMonitor?.follow(this, this.#reply)
  }

  #assertHeadersNotSent (call: string): void {
    if (this.#reply !== undefined && isHeadSent(this.#reply)) throw new SessionSentError(call)
  }

  #assertEnabled (call: string): void {
    if (this.#cookieState.isSessionDisabled) throw new SessionDisabledError(call)
    if (this.#cookieState.isForeign) throw new OriginError()
  }

  #assertLoaded (): void {
    if (this.#isLoading) throw unavailable(new Error('the request was rejected before its session was loaded'))
    if (this.#failure !== undefined) throw unavailable(this.#failure)
  }

  #requireToken (call: string): SessionToken {
    this.#assertEnabled(call)
    this.#assertLoaded()
    if (this.#token === undefined) throw new SessionRequiredError()
    return this.#token
  }

  #requireUser (call: string): SessionToken {
    const token = this.#requireToken(call)
    if (token.userId === undefined) throw new SessionRequiredError()
    return token
  }

  #useLoaded (token: SessionToken, loaded: LoadedSession): void {
    const { isEarlier } = loaded
    const found = token.previousId === undefined ? token : { ...token, ...(isEarlier ? token.previousId : {}), previousId: undefined }
    this.#activate({ token: found, value: loaded.value })
    // If the previous ID is live, the rotation may still execute: the cookie keeps both IDs.
    if (this.#cookieState.isSealedWithOldKey || (token.previousId !== undefined && !isEarlier)) this.#tokenToReissue = isEarlier ? token : found
    if (loaded.touchedAt !== undefined) this.#reissueCookie(loaded.touchedAt)
  }

  #reissueCookie (nowMs: number): void {
    if (this.#tokenToReissue !== undefined && this.#cookie === undefined) this.#cookie = this.#cookieFor(this.#tokenToReissue, nowMs)
  }

  #activate ({ token, value }: Pick<ActiveSession, 'token' | 'value'>): void {
    this.#token = token
    this.#value = value
    this.#data = this.#reads = this.#failure = this.#tokenToReissue = undefined
    this.#isLoading = false
  }

  #clear (): void {
    this.#token = this.#value = this.#data = this.#reads = this.#failure = undefined
    this.#isLoading = false
    this.#isCookieNeeded = false
    if (this.#cookieState.hasCookie) this.#changeCookie('clear')
    else this.#cookie = undefined
  }

  #setCookie (token: SessionToken, nowMs: number): void {
    this.#isCookieNeeded = true
    this.#changeCookie(this.#cookieFor(token, nowMs))
  }

  #cookieFor (token: SessionToken, nowMs: number): CookieChange {
    const leftMs = readSessionRecord(this.#value ?? '').absoluteEndAt - nowMs
    return { token, maxAgeSeconds: Math.max(1, Math.floor(leftMs / 1000)) }
  }

  #changeCookie (change: CookieChange): void {
    this.#cookie = change
    this.#monitor()
    if (this.#reply !== undefined) this.#sessions.replyMonitor?.cookieGiven(this, this.#reply)
  }
}

rejectAssignments(RequestSession.prototype)
