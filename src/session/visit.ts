import { OriginError, RedisUnavailableError, SessionCorruptError, SessionGoneError, SessionOffError, SessionRequiredError, SessionSentError } from '../errors.ts'
import type { Answer, Hearer } from '../redis/answer.ts'
import type { Arrival, CookieChange } from './arrival.ts'
import { refuseAssignments } from './assignment.ts'
import { readBeginning, readUserId } from './beginning.ts'
import { carryOver } from './carry-over.ts'
import { Document } from './document.ts'
import type { Held, House } from './house.ts'
import { isHeadSent, isOver } from './reply-watch.ts'
import type { Replying, Watched } from './reply-watch.ts'
import type { Device, Frozen, Session, SessionState, SignInOptions } from './session.ts'
import type { Loaded } from './store.ts'
import { readStored } from './stored.ts'
import { anonymousBearer, deviceOf, newTicket, userBearer } from './ticket.ts'
import type { Ticket } from './ticket.ts'
import { unavailable } from './unavailable.ts'

/** One request's session, from its load to its save. What it does to Redis it does one after the other. */
export class Visit<Data extends object> implements Session<Data>, Hearer<Loaded | undefined>, Watched {
  readonly #house: House
  readonly #arrival: Arrival
  readonly #reply: Replying | undefined
  #isFollowed = false
  #isClosed = false
  #loading: Answer<Loaded | undefined> | undefined
  /** its session was asked for, and the answer is not here: perhaps a refusal came first */
  #isUnanswered = false
  #failure: Error | undefined
  #ticket: Ticket | undefined
  #value: string | undefined
  #document: Document | undefined
  #cookie: CookieChange | undefined
  /** without its cookie the visitor loses the session: not where it is only sealed anew, or cleared */
  #isCookieNeeded = false
  /** whose cookie is to be sealed anew with the next write */
  #stale: Ticket | undefined
  #turn: Promise<unknown> | undefined
  /** the keys of this session that the request has read */
  #reads: Set<string> | undefined

  /** @param reply the one that the session is saved with */
  constructor (house: House, arrival: Arrival, reply?: Replying) {
    this.#house = house
    this.#arrival = arrival
    this.#reply = reply
  }

  /** Asks for the session that the cookie names, without waiting. */
  ask (): void {
    const { ticket } = this.#arrival
    if (ticket === undefined) return
    this.#isUnanswered = true
    this.#loading = this.#house.load(ticket)
    this.#loading.hear(this)
  }

  /** Hears of the session that was asked for. What was done meanwhile stands. */
  answered (found: Loaded | undefined): void {
    const { ticket } = this.#arrival
    const loaded = ticket && this.#house.admit(ticket, found)
    try {
      if (this.#isUnanswered && ticket !== undefined && loaded !== undefined) this.#arrive(ticket, loaded)
    } catch (error) {
      this.#failure = error as Error
    }
    this.#isUnanswered = false
  }

  /** Hears why the session that was asked for is not known. */
  failed (error: Error): void {
    this.#house.missed()
    if (this.#isUnanswered) this.#failure = error
    this.#isUnanswered = false
  }

  /** Asks for nothing: a session that the cookie names stays unknown. */
  forgo (): void {
    this.#isUnanswered = this.#arrival.ticket !== undefined
  }

  /** What it waits for, where that is not here yet; afterwards the session can be used. */
  answer (): Answer<unknown> | undefined {
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
    return this.#document?.isChanged === true
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
    if (this.hasUnsaved && this.#reply !== undefined) this.#house.replies?.changedLate(this, this.#reply)
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
    return this.#ticket && deviceOf(this.#ticket)
  }

  get userId (): string | undefined {
    return this.#ticket?.userId
  }

  /** Who the cookie says it is, and by which session, before that was looked up: nobody may be trusted for it. */
  get claim (): { readonly userId: string | undefined, readonly id: string } | undefined {
    const { ticket } = this.#arrival
    return ticket && { userId: ticket.userId, get id () { return deviceOf(ticket) } }
  }

  get isNew (): boolean {
    return this.#value === undefined
  }

  get<Key extends keyof Data & string> (key: Key): Frozen<Data[Key]> | undefined {
    if (this.#value === undefined && this.#document === undefined) return undefined
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
    if (!this.isSettled) await this.#inTurn(() => this.#save())
  }

  async signIn (userId: string, options: SignInOptions<Data> = {}): Promise<void> {
    this.#refuseWhenOff('signIn()')
    const bearer = userBearer(readUserId(userId))
    const beginning = readBeginning(options, this.#house.policy)
    this.#refuseSent('signIn()')
    await this.#inTurn(async () => {
      const before = this.#ticket ?? this.#arrival.ticket
      const replaced = before?.userId === userId ? before.bornAt : undefined
      const document = this.#readable(options.carry ?? [])
      const from = document && this.#ticket !== undefined && this.#value !== undefined ? { ticket: this.#ticket, value: this.#value, document } : undefined
      const held = from === undefined
        ? await this.#house.begin(bearer, { ...beginning, document: document?.carry(options.carry ?? [], '{}', this.#house.policy.keys).toText() ?? '{}', replaced })
        : await carryOver(this.#house, from, bearer, beginning, options.carry ?? [])
      this.#hold(held)
      this.#giveCookie(held.ticket, held.nowMs)
      if (from === undefined && before !== undefined && replaced === undefined) await this.#house.leaveBehind(before)
    })
  }

  async signOut (): Promise<void> {
    this.#refuseWhenOff('signOut()')
    await this.#inTurn(async () => {
      const { ticket, contenders = [] } = this.#arrival
      for (const each of [this.#ticket ?? ticket, ...contenders]) if (each !== undefined) await this.#house.leave(each)
      this.#drop()
    })
  }

  async rotate (): Promise<void> {
    const { userId, subject, bornAt } = this.#held('rotate()')
    this.#refuseSent('rotate()')
    await this.#inTurn(async () => {
      await this.#save()
      const ticket = this.#held('rotate()')
      const next = newTicket(this.#house.keys, { userId, subject }, bornAt)
      const held = await this.#house.rotate(ticket, next).catch((error) => {
        // Nobody knows whether it happened: a cookie with both ids finds the session where it is.
        if (error instanceof RedisUnavailableError) this.#giveCookie({ ...next, earlier: ticket }, readStored(this.#value ?? '').seenAt)
        throw error
      })
      if (held === undefined) throw new SessionGoneError()
      this.#rebase(held.value)
      this.#ticket = next
      this.#giveCookie(next, held.nowMs)
    })
  }

  async devices (): Promise<Device[]> {
    const user = this.#user('devices()')
    return await this.#house.devicesAt(user.key, user)
  }

  async revoke (id: string): Promise<boolean> {
    this.#user('revoke()')
    return await this.#inTurn(async () => {
      const wasAlive = await this.#house.endDevice(this.#user('revoke()'), id)
      if (id === this.id) this.#drop()
      return wasAlive
    })
  }

  async revokeOthers (): Promise<number> {
    this.#user('revokeOthers()')
    return await this.#inTurn(async () => await this.#house.endOthers(this.#user('revokeOthers()')))
  }

  /** One after the other: a save must not meet the sign-out of its own request on the way. */
  #inTurn<Result> (work: () => Promise<Result>): Promise<Result> {
    // Whoever called for the turn before has its failure.
    const turn = this.#turn === undefined ? work() : this.#turn.then(work, work)
    return (this.#turn = turn)
  }

  async #save (): Promise<void> {
    const document = this.#document
    if (document === undefined || !document.isChanged) return
    if (this.#ticket === undefined) this.#refuseSent('save()')
    // What is changed while this is on its way is the next save's.
    this.#document = new Document(document.toText(), this.#reads)
    if (this.#ticket === undefined || this.#value === undefined) {
      // A name that came in a cookie but is not known is nobody's to keep: somebody may have planted it.
      const { idleMs, absoluteMs } = this.#house.policy
      const held = await this.#house.begin(anonymousBearer(), { idleMs, absoluteMs, label: undefined, document: document.toText() })
      this.#ticket = held.ticket
      this.#rebase(held.value)
      this.#giveCookie(held.ticket, held.nowMs)
    } else {
      const value = await this.#house.saver.save(this.#ticket, this.#value, document)
      this.#rebase(value)
      this.#sealAnew(readStored(value).seenAt)
    }
  }

  /** Takes what is stored now as the ground for what is changed, but not saved yet. */
  #rebase (value: string): void {
    this.#value = value
    this.#document = this.#document?.isChanged ? this.#document.rebase(readStored(value).document, this.#house.policy.keys) : undefined
  }

  #open (): Document {
    return (this.#document ??= new Document(this.#value === undefined ? '{}' : readStored(this.#value).document, (this.#reads ??= new Set())))
  }

  /** What there is to be carried. What cannot be read cannot be carried, and keeps nobody from signing in. */
  #readable (names: readonly string[]): Document | undefined {
    try {
      if (names.length > 0 && this.state !== 'unavailable') return this.#open()
    } catch (error) {
      if (!(error instanceof SessionCorruptError)) throw error
    }
  }

  #openToWrite (call: string): Document {
    this.#refuseWhenOff(call)
    this.#refuseUnknown()
    this.#follow()
    if (this.#reply !== undefined && (this.#isClosed || isOver(this.#reply))) this.#house.replies?.changedLate(this, this.#reply)
    return this.#open()
  }

  /** Most requests change nothing: only the others have their replies followed. */
  #follow (): void {
    if (this.#isFollowed || this.#reply === undefined) return
    this.#isFollowed = true
    this.#house.replies?.follow(this, this.#reply)
  }

  #refuseSent (call: string): void {
    if (this.#reply !== undefined && isHeadSent(this.#reply)) throw new SessionSentError(call)
  }

  #refuseWhenOff (call: string): void {
    if (this.#arrival.isOff) throw new SessionOffError(call)
    if (this.#arrival.isForeign) throw new OriginError()
  }

  #refuseUnknown (): void {
    if (this.#isUnanswered) throw unavailable(new Error('the request was refused before its session was loaded'))
    if (this.#failure !== undefined) throw unavailable(this.#failure)
  }

  #held (call: string): Ticket {
    this.#refuseWhenOff(call)
    this.#refuseUnknown()
    if (this.#ticket === undefined) throw new SessionRequiredError()
    return this.#ticket
  }

  #user (call: string): Ticket {
    const ticket = this.#held(call)
    if (ticket.userId === undefined) throw new SessionRequiredError()
    return ticket
  }

  #arrive (ticket: Ticket, loaded: Loaded): void {
    const { isEarlier } = loaded
    const found = ticket.earlier === undefined ? ticket : { ...ticket, ...(isEarlier ? ticket.earlier : {}), earlier: undefined }
    this.#hold({ ticket: found, value: loaded.value })
    // Where the earlier id lives, the rotation may still come: its cookie keeps both.
    if (this.#arrival.isOld || (ticket.earlier !== undefined && !isEarlier)) this.#stale = isEarlier ? ticket : found
    if (loaded.touchedAt !== undefined) this.#sealAnew(loaded.touchedAt)
  }

  #sealAnew (nowMs: number): void {
    if (this.#stale !== undefined && this.#cookie === undefined) this.#cookie = this.#cookieFor(this.#stale, nowMs)
  }

  #hold ({ ticket, value }: Pick<Held, 'ticket' | 'value'>): void {
    this.#ticket = ticket
    this.#value = value
    this.#document = this.#reads = this.#failure = this.#stale = undefined
    this.#isUnanswered = false
  }

  #drop (): void {
    this.#ticket = this.#value = this.#document = this.#reads = this.#failure = undefined
    this.#isUnanswered = false
    this.#isCookieNeeded = false
    if (this.#arrival.hasCookie) this.#changeCookie('clear')
    else this.#cookie = undefined
  }

  #giveCookie (ticket: Ticket, nowMs: number): void {
    this.#isCookieNeeded = true
    this.#changeCookie(this.#cookieFor(ticket, nowMs))
  }

  #cookieFor (ticket: Ticket, nowMs: number): CookieChange {
    const leftMs = readStored(this.#value ?? '').absoluteEndAt - nowMs
    return { ticket, maxAgeSeconds: Math.max(1, Math.floor(leftMs / 1000)) }
  }

  #changeCookie (change: CookieChange): void {
    this.#cookie = change
    this.#follow()
    if (this.#reply !== undefined) this.#house.replies?.cookieGiven(this, this.#reply)
  }
}

refuseAssignments(Visit.prototype)
