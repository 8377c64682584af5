import { OriginError, RedisUnavailableError, SessionCorruptError, SessionEndedError, SessionDisabledError, SessionRequiredError, SessionSentError } from '../shared/errors.ts'
import type { PendingReply, ReplyListener } from '../redis/batch/pending-reply.ts'
import type { ParsedCookie, CookieChange } from './parsed-cookie.ts'
import { refuseAssignments } from './assignment.ts'
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

/** One request's session, from its load to its save. What it does to Redis it does one after the other. */
export class RequestSession<Data extends object> implements Session<Data>, ReplyListener<LoadedSession | undefined>, MonitoredSession {
  readonly #sessions: SessionManager
  readonly #cookieState: ParsedCookie
  readonly #reply: MonitoredReply | undefined
  #isFollowed = false
  #isClosed = false
  #loading: PendingReply<LoadedSession | undefined> | undefined
  /** its session was asked for, and the answer is not here: perhaps a refusal came first */
  #isUnanswered = false
  #failure: Error | undefined
  #token: SessionToken | undefined
  #value: string | undefined
  #data: SessionData | undefined
  #cookie: CookieChange | undefined
  /** without its cookie the visitor loses the session: not where it is only sealed anew, or cleared */
  #isCookieNeeded = false
  /** whose cookie is to be sealed anew with the next write */
  #stale: SessionToken | undefined
  #turn: Promise<unknown> | undefined
  /** the keys of this session that the request has read */
  #reads: Set<string> | undefined

  /** @param reply the one that the session is saved with */
  constructor (sessionManager: SessionManager, parsedCookie: ParsedCookie, reply?: MonitoredReply) {
    this.#sessions = sessionManager
    this.#cookieState = parsedCookie
    this.#reply = reply
  }

  /** Asks for the session that the cookie names, without waiting. */
  ask (): void {
    const { token } = this.#cookieState
    if (token === undefined) return
    this.#isUnanswered = true
    this.#loading = this.#sessions.load(token)
    this.#loading.subscribe(this)
  }

  /** Hears of the session that was asked for. What was done meanwhile stands. */
  onReply (found: LoadedSession | undefined): void {
    const { token } = this.#cookieState
    const loaded = token && this.#sessions.acceptLoad(token, found)
    try {
      if (this.#isUnanswered && token !== undefined && loaded !== undefined) this.#arrive(token, loaded)
    } catch (error) {
      this.#failure = error as Error
    }
    this.#isUnanswered = false
  }

  /** Hears why the session that was asked for is not known. */
  onError (error: Error): void {
    this.#sessions.missed()
    if (this.#isUnanswered) this.#failure = error
    this.#isUnanswered = false
  }

  /** Asks for nothing: a session that the cookie names stays unknown. */
  skipLoad (): void {
    this.#isUnanswered = this.#cookieState.token !== undefined
  }

  /** What it waits for, where that is not here yet; afterwards the session can be used. */
  answer (): PendingReply<unknown> | undefined {
    return this.#isUnanswered ? this.#loading : undefined
  }

  /** @throws {SessionRequiredError} PRISM_ERR_SESSION_REQUIRED; or why it is not known whether somebody is signed in */
  require (): void {
    this.#refuseUnknown()
    if (this.userId === undefined) throw new SessionRequiredError()
  }

  /** Nothing is under way, and nothing is to be saved. */
  get isSettled (): boolean {
    return this.#turn === undefined && !this.hasUnsaved
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

  /** Hears that the session was saved with its reply: what is changed from now on is saved only where the caller calls save(). */
  close (): void {
    this.#isClosed = true
    // Changed while that save was on its way.
    if (this.hasUnsaved && this.#reply !== undefined) this.#sessions.replyMonitor?.changedLate(this, this.#reply)
  }

  async idle (): Promise<void> {
    await this.#turn?.catch(() => {})
  }

  /** What the reply shall do to the cookie; asked once. */
  takeCookie (): CookieChange | undefined {
    const change = this.#cookie
    this.#cookie = undefined
    return change
  }

  get state (): SessionState {
    if (this.#failure !== undefined || this.#isUnanswered) return 'unavailable'
    return this.userId === undefined ? 'anonymous' : 'live'
  }

  get id (): string | undefined {
    return this.#token && deviceOf(this.#token)
  }

  get userId (): string | undefined {
    return this.#token?.userId
  }

  /** Who the cookie says it is, and by which session, before that was looked up: nobody may be trusted for it. */
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
    this.#refuseWhenOff('signIn()')
    const subject = userSubject(readUserId(userId))
    const newSession = readNewSession(options, this.#sessions.policy)
    this.#refuseSent('signIn()')
    await this.#serialize(async () => {
      const before = this.#token ?? this.#cookieState.token
      const replaced = before?.userId === userId ? before.createdAt : undefined
      const data = this.#readable(options.keep ?? [])
      const from = data && this.#token !== undefined && this.#value !== undefined ? { token: this.#token, value: this.#value, data } : undefined
      const held = from === undefined
        ? await this.#sessions.begin(subject, { ...newSession, document: data?.carry(options.keep ?? [], '{}', this.#sessions.policy.onConflict).toText() ?? '{}', replaced })
        : await moveSession(this.#sessions, from, subject, newSession, options.keep ?? [])
      this.#hold(held)
      this.#setCookie(held.token, held.nowMs)
      if (from === undefined && before !== undefined && replaced === undefined) await this.#sessions.endReplaced(before)
    })
  }

  async signOut (): Promise<void> {
    this.#refuseWhenOff('signOut()')
    await this.#serialize(async () => {
      const { token, conflictingTokens = [] } = this.#cookieState
      for (const each of [this.#token ?? token, ...conflictingTokens]) if (each !== undefined) await this.#sessions.end(each)
      this.#clear()
    })
  }

  async rotate (): Promise<void> {
    const { userId, subject, createdAt } = this.#held('rotate()')
    this.#refuseSent('rotate()')
    await this.#serialize(async () => {
      await this.#save()
      const token = this.#held('rotate()')
      const next = newToken(this.#sessions.keys, { userId, subject }, createdAt)
      const held = await this.#sessions.rotate(token, next).catch((error) => {
        // Nobody knows whether it happened: a cookie with both ids finds the session where it is.
        if (error instanceof RedisUnavailableError) this.#setCookie({ ...next, previousId: token }, readSessionRecord(this.#value ?? '').seenAt)
        throw error
      })
      if (held === undefined) throw new SessionEndedError()
      this.#rebase(held.value)
      this.#token = next
      this.#setCookie(next, held.nowMs)
    })
  }

  async devices (): Promise<Device[]> {
    const user = this.#user('devices()')
    return await this.#sessions.devicesAt(user.key, user)
  }

  async revoke (id: string): Promise<boolean> {
    this.#user('revoke()')
    return await this.#serialize(async () => {
      const wasAlive = await this.#sessions.endDevice(this.#user('revoke()'), id)
      if (id === this.id) this.#clear()
      return wasAlive
    })
  }

  async revokeOthers (): Promise<number> {
    this.#user('revokeOthers()')
    return await this.#serialize(async () => await this.#sessions.endOthers(this.#user('revokeOthers()')))
  }

  /** One after the other: a save must not meet the sign-out of its own request on the way. */
  #serialize<Result> (work: () => Promise<Result>): Promise<Result> {
    // Whoever called for the turn before has its failure.
    const turn = this.#turn === undefined ? work() : this.#turn.then(work, work)
    return (this.#turn = turn)
  }

  async #save (): Promise<void> {
    const data = this.#data
    if (data === undefined || !data.isChanged) return
    if (this.#token === undefined) this.#refuseSent('save()')
    // What is changed while this is on its way is the next save's.
    this.#data = new SessionData(data.toText(), this.#reads)
    if (this.#token === undefined || this.#value === undefined) {
      // A name that came in a cookie but is not known is nobody's to keep: somebody may have planted it.
      const { idleMs, absoluteMs } = this.#sessions.policy
      const held = await this.#sessions.begin(anonymousSubject(), { idleMs, absoluteMs, label: undefined, document: data.toText() })
      this.#token = held.token
      this.#rebase(held.value)
      this.#setCookie(held.token, held.nowMs)
    } else {
      const value = await this.#sessions.saveQueue.save(this.#token, this.#value, data)
      this.#rebase(value)
      this.#reissueCookie(readSessionRecord(value).seenAt)
    }
  }

  /** Takes what is stored now as the ground for what is changed, but not saved yet. */
  #rebase (value: string): void {
    this.#value = value
    this.#data = this.#data?.isChanged ? this.#data.rebase(readSessionRecord(value).document, this.#sessions.policy.onConflict) : undefined
  }

  #open (): SessionData {
    return (this.#data ??= new SessionData(this.#value === undefined ? '{}' : readSessionRecord(this.#value).document, (this.#reads ??= new Set())))
  }

  /** What there is to be carried. What cannot be read cannot be carried, and keeps nobody from signing in. */
  #readable (names: readonly string[]): SessionData | undefined {
    try {
      if (names.length > 0 && this.state !== 'unavailable') return this.#open()
    } catch (error) {
      if (!(error instanceof SessionCorruptError)) throw error
    }
  }

  #openToWrite (call: string): SessionData {
    this.#refuseWhenOff(call)
    this.#refuseUnknown()
    this.#follow()
    if (this.#reply !== undefined && (this.#isClosed || isOver(this.#reply))) this.#sessions.replyMonitor?.changedLate(this, this.#reply)
    return this.#open()
  }

  /** Most requests change nothing: only the others have their replies followed. */
  #follow (): void {
    if (this.#isFollowed || this.#reply === undefined) return
    this.#isFollowed = true
    this.#sessions.replyMonitor?.follow(this, this.#reply)
  }

  #refuseSent (call: string): void {
    if (this.#reply !== undefined && isHeadSent(this.#reply)) throw new SessionSentError(call)
  }

  #refuseWhenOff (call: string): void {
    if (this.#cookieState.isSessionDisabled) throw new SessionDisabledError(call)
    if (this.#cookieState.isForeign) throw new OriginError()
  }

  #refuseUnknown (): void {
    if (this.#isUnanswered) throw unavailable(new Error('the request was refused before its session was loaded'))
    if (this.#failure !== undefined) throw unavailable(this.#failure)
  }

  #held (call: string): SessionToken {
    this.#refuseWhenOff(call)
    this.#refuseUnknown()
    if (this.#token === undefined) throw new SessionRequiredError()
    return this.#token
  }

  #user (call: string): SessionToken {
    const token = this.#held(call)
    if (token.userId === undefined) throw new SessionRequiredError()
    return token
  }

  #arrive (token: SessionToken, loaded: LoadedSession): void {
    const { isEarlier } = loaded
    const found = token.previousId === undefined ? token : { ...token, ...(isEarlier ? token.previousId : {}), earlier: undefined }
    this.#hold({ token: found, value: loaded.value })
    // Where the earlier id lives, the rotation may still come: its cookie keeps both.
    if (this.#cookieState.isSealedWithOldKey || (token.previousId !== undefined && !isEarlier)) this.#stale = isEarlier ? token : found
    if (loaded.touchedAt !== undefined) this.#reissueCookie(loaded.touchedAt)
  }

  #reissueCookie (nowMs: number): void {
    if (this.#stale !== undefined && this.#cookie === undefined) this.#cookie = this.#cookieFor(this.#stale, nowMs)
  }

  #hold ({ token, value }: Pick<ActiveSession, 'token' | 'value'>): void {
    this.#token = token
    this.#value = value
    this.#data = this.#reads = this.#failure = this.#stale = undefined
    this.#isUnanswered = false
  }

  #clear (): void {
    this.#token = this.#value = this.#data = this.#reads = this.#failure = undefined
    this.#isUnanswered = false
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
    this.#follow()
    if (this.#reply !== undefined) this.#sessions.replyMonitor?.cookieGiven(this, this.#reply)
  }
}

refuseAssignments(RequestSession.prototype)
