import { RedisUnavailableError, SessionEndedError, SessionRequiredError, SessionSentError } from '../shared/errors.ts'
import type { PendingReply } from '../redis/batch/pending-reply.ts'
import type { ParsedCookie, CookieChange } from './parsed-cookie.ts'
import { rejectAssignments } from './assignment.ts'
import { readNewSession, readUserId } from './new-session.ts'
import { moveSession } from './keep-on-sign-in.ts'
import type { SessionData } from './session-data.ts'
import type { SessionManager } from './session-manager.ts'
import { isHeadSent, isOver } from './reply-monitor.ts'
import type { MonitoredReply, MonitoredSession } from './reply-monitor.ts'
import { SessionRequestState } from './request-state.ts'
import type { Device, Frozen, Session, SessionState, SignInOptions } from './session.ts'
import { readSessionRecord } from './session-record.ts'
import { anonymousSubject, deviceOf, newToken, userSubject } from './session-token.ts'
import type { SessionToken } from './session-token.ts'

/** The session of one request, from load to save. Its Redis writes are serialized. */
export class RequestSession<Data extends object> implements Session<Data>, MonitoredSession {
  readonly #sessions: SessionManager
  readonly #state: SessionRequestState
  readonly #reply: MonitoredReply | undefined
  #isMonitored = false
  #isClosed = false
  #pendingWork: Promise<unknown> | undefined

  /** @param reply the reply with which the session is saved */
  constructor (sessionManager: SessionManager, parsedCookie: ParsedCookie, reply?: MonitoredReply) {
    this.#sessions = sessionManager
    this.#state = new SessionRequestState(sessionManager, parsedCookie)
    this.#reply = reply
  }

  /** Enqueues the load of the session in the cookie. */
  load (): void {
    this.#state.load()
  }

  /** Skips the load: the state of the session in the cookie stays unknown. */
  skipLoad (): void {
    this.#state.skipLoad()
  }

  /** The pending load, or undefined if the session is ready. */
  get pendingLoad (): PendingReply<unknown> | undefined {
    return this.#state.pendingLoad
  }

  /** @throws {SessionRequiredError} PRISM_ERR_SESSION_REQUIRED, or the error that prevented the load */
  requireUser (): void {
    this.#state.assertLoaded()
    if (this.userId === undefined) throw new SessionRequiredError()
  }

  /** Whether no operation is pending and nothing has to be saved. */
  get isSettled (): boolean {
    return this.#pendingWork === undefined && !this.hasUnsaved
  }

  get hasUnsaved (): boolean {
    return this.#state.hasUnsaved
  }

  get hasCookie (): boolean {
    return this.#state.hasCookie
  }

  get isClosed (): boolean {
    return this.#isClosed
  }

  /** Marks the onSend save as finished: later changes are saved only by a call of save(). */
  close (): void {
    this.#isClosed = true
    // Changed during that save.
    if (this.hasUnsaved && this.#reply !== undefined) this.#sessions.replyMonitor?.reportLateChange(this, this.#reply)
  }

  async idle (): Promise<void> {
    await this.#pendingWork?.catch(() => {})
  }

  /** Returns the pending cookie change and clears it. */
  takeCookie (): CookieChange | undefined {
    return this.#state.takeCookie()
  }

  get state (): SessionState {
    if (this.#state.isUnavailable) return 'unavailable'
    return this.userId === undefined ? 'anonymous' : 'live'
  }

  get id (): string | undefined {
    const { token } = this.#state
    return token && deviceOf(token)
  }

  get userId (): string | undefined {
    return this.#state.token?.userId
  }

  /** User and session ID from the cookie, before the lookup. Unverified: do not use it for authorization. */
  get unverified (): { readonly userId: string | undefined, readonly id: string } | undefined {
    const token = this.#state.unverifiedToken
    return token && { userId: token.userId, get id () { return deviceOf(token) } }
  }

  get isNew (): boolean {
    return this.#state.value === undefined
  }

  get<Key extends keyof Data & string> (key: Key): Frozen<Data[Key]> | undefined {
    return this.#state.hasData ? this.#state.data.get(key) as Frozen<Data[Key]> | undefined : undefined
  }

  set<Key extends keyof Data & string> (key: Key, value: Data[Key]): void {
    this.#dataToChange('set()').set(key, value)
  }

  update<Key extends keyof Data & string> (key: Key, change: (value: Data[Key] | undefined) => Data[Key] | undefined): Frozen<Data[Key]> | undefined {
    return this.#dataToChange('update()').update(key, (value) => change(value as Data[Key] | undefined)) as Frozen<Data[Key]> | undefined
  }

  delete (key: keyof Data & string): void {
    this.#dataToChange('delete()').delete(key)
  }

  keys (): string[] {
    return this.#state.hasData ? this.#state.data.keys : []
  }

  async save (): Promise<void> {
    if (!this.isSettled) await this.#serialize(() => this.#save())
  }

  async signIn (userId: string, options: SignInOptions<Data> = {}): Promise<void> {
    const state = this.#state
    state.assertEnabled('signIn()')
    const subject = userSubject(readUserId(userId))
    const newSession = readNewSession(options, this.#sessions.policy, this.#reply?.request?.headers?.['user-agent'])
    this.#assertHeadersNotSent('signIn()')
    await this.#serialize(async () => {
      const before = state.lastToken
      const replaced = before?.userId === userId ? before.createdAt : undefined
      const { keep = [] } = options
      const data = state.readableData(keep)
      const from = data && state.token !== undefined && state.value !== undefined ? { token: state.token, value: state.value, data } : undefined
      const active = from === undefined
        ? await this.#sessions.create(subject, { ...newSession, document: data?.pick(keep, '{}', this.#sessions.policy.onConflict).toText() ?? '{}', replaced })
        : await moveSession(this.#sessions, from, subject, newSession, keep)
      state.activate(active)
      this.#setCookie(active.token, active.nowMs)
      if (from === undefined && before !== undefined && replaced === undefined) await this.#sessions.endReplaced(before)
    })
  }

  async signOut (): Promise<void> {
    this.#state.assertEnabled('signOut()')
    await this.#serialize(async () => {
      const { lastToken, conflictingTokens } = this.#state
      for (const token of [lastToken, ...conflictingTokens]) if (token !== undefined) await this.#sessions.end(token)
      this.#clear()
    })
  }

  async rotate (): Promise<void> {
    const state = this.#state
    const { userId, subject, createdAt } = state.requireToken('rotate()')
    this.#assertHeadersNotSent('rotate()')
    await this.#serialize(async () => {
      await this.#save()
      const token = state.requireToken('rotate()')
      const next = newToken(this.#sessions.keys, { userId, subject }, createdAt)
      const active = await this.#sessions.rotate(token, next).catch((error) => {
        // The outcome is unknown: a cookie with both IDs finds the session in either case.
        if (error instanceof RedisUnavailableError) this.#setCookie({ ...next, previousId: token }, readSessionRecord(state.value ?? '').seenAt)
        throw error
      })
      if (active === undefined) throw new SessionEndedError()
      state.rebase(active.value, next)
      this.#setCookie(next, active.nowMs)
    })
  }

  async devices (): Promise<Device[]> {
    const token = this.#state.requireUserToken('devices()')
    return await this.#sessions.devicesAt(token.key, token)
  }

  async revoke (id: string): Promise<boolean> {
    this.#state.requireUserToken('revoke()')
    return await this.#serialize(async () => {
      const wasAlive = await this.#sessions.endDevice(this.#state.requireUserToken('revoke()'), id)
      if (id === this.id) this.#clear()
      return wasAlive
    })
  }

  async revokeOthers (): Promise<number> {
    this.#state.requireUserToken('revokeOthers()')
    return await this.#serialize(async () => await this.#sessions.endOthers(this.#state.requireUserToken('revokeOthers()')))
  }

  /** Runs operations one after the other: a save must not race with a sign-out of the same request. */
  #serialize<Result> (work: () => Promise<Result>): Promise<Result> {
    // The caller of the previous operation handles its error.
    const pending = this.#pendingWork === undefined ? work() : this.#pendingWork.then(work, work)
    return (this.#pendingWork = pending)
  }

  async #save (): Promise<void> {
    const state = this.#state
    if (!state.hasUnsaved) return
    const { token, value } = state
    if (token === undefined) this.#assertHeadersNotSent('save()')
    const data = state.takeUnsaved() as SessionData
    if (token === undefined || value === undefined) return await this.#saveNew(data)
    const saved = await this.#sessions.saveQueue.save(token, value, data)
    state.rebase(saved)
    state.reissueCookie(readSessionRecord(saved).seenAt)
  }

  /** Never adopts an unknown ID from a cookie: an attacker may have planted it (session fixation). */
  async #saveNew (data: SessionData): Promise<void> {
    const { idleMs, absoluteMs } = this.#sessions.policy
    const active = await this.#sessions.create(anonymousSubject(), { idleMs, absoluteMs, label: undefined, document: data.toText() })
    this.#state.rebase(active.value, active.token)
    this.#setCookie(active.token, active.nowMs)
  }

  #dataToChange (call: string): SessionData {
    this.#state.assertEnabled(call)
    this.#state.assertLoaded()
    this.#monitor()
    if (this.#reply !== undefined && (this.#isClosed || isOver(this.#reply))) this.#sessions.replyMonitor?.reportLateChange(this, this.#reply)
    return this.#state.data
  }

  /** Monitors the reply only of requests that change the session: most do not. */
  #monitor (): void {
    if (this.#isMonitored || this.#reply === undefined) return
    this.#isMonitored = true
    this.#sessions.replyMonitor?.monitor(this, this.#reply)
  }

  #assertHeadersNotSent (call: string): void {
    if (this.#reply !== undefined && isHeadSent(this.#reply)) throw new SessionSentError(call)
  }

  #setCookie (token: SessionToken, nowMs: number): void {
    this.#state.setCookie(token, nowMs)
    this.#onCookieChanged()
  }

  #clear (): void {
    if (this.#state.clear()) this.#onCookieChanged()
  }

  #onCookieChanged (): void {
    this.#monitor()
    if (this.#reply !== undefined) this.#sessions.replyMonitor?.onCookieChanged(this, this.#reply)
  }
}

rejectAssignments(RequestSession.prototype)
