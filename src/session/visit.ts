import { OptionError, SessionGoneError, SessionOffError, SessionRequiredError, SessionUnavailableError } from '../errors.ts'
import { readDuration, refuse } from '../options.ts'
import { Document } from './document.ts'
import type { House } from './house.ts'
import type { Device, Frozen, Session, SessionState, SignInOptions } from './session.ts'
import type { Loaded } from './store.ts'
import { readStored } from './stored.ts'
import { newAnonymousTicket, newUserTicket } from './ticket.ts'
import type { Ticket } from './ticket.ts'

/** What a reply shall do to the cookie: hold this ticket for so long, or hold nothing. */
export type CookieChange = { ticket: Ticket, maxAgeSeconds: number } | 'clear'

/** How a request came. */
export interface Arrival {
  /** what its cookie names */
  readonly ticket?: Ticket | undefined
  /** the cookie shall be sealed anew when the session is next written */
  readonly isOld?: boolean
  /** a cookie came, whatever it holds */
  readonly hasCookie?: boolean
  /** the route wants no session */
  readonly isOff?: boolean
}

/** One request's session, from its load to its save. */
export class Visit<Data extends object> implements Session<Data> {
  /** what the reply shall do to the cookie */
  cookie: CookieChange | undefined
  /** why the session could not be loaded */
  failure: Error | undefined
  readonly #house: House
  readonly #arrival: Arrival
  #ticket: Ticket | undefined
  #loading: Promise<Loaded | undefined> | undefined
  #value: string | undefined
  #document: Document | undefined
  #saving: Promise<void> | undefined

  constructor (house: House, arrival: Arrival) {
    this.#house = house
    this.#arrival = arrival
  }

  /** Asks for the session that the cookie names, without waiting. */
  ask (): void {
    const { ticket } = this.#arrival
    if (ticket === undefined) return
    this.#loading = this.#house.store.load(ticket)
    // A request may end before it looks at this.
    this.#loading.catch(() => {})
  }

  /** Waits for what was asked; afterwards the session can be used. */
  async answer (): Promise<void> {
    const { ticket, isOld } = this.#arrival
    if (ticket === undefined || this.#loading === undefined) return
    try {
      const loaded = await this.#loading
      if (loaded === undefined) return
      this.#hold(ticket, loaded.value)
      if (isOld && loaded.isTouched) this.#giveCookie(loaded.nowMs)
    } catch (error) {
      this.failure = error as Error
    }
  }

  get state (): SessionState {
    if (this.failure !== undefined) return 'unavailable'
    return this.#ticket?.userId === undefined ? 'anonymous' : 'live'
  }

  get id (): string | undefined {
    return this.#ticket?.device
  }

  get userId (): string | undefined {
    return this.#ticket?.userId
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
    if (this.#value !== undefined || this.#document !== undefined || this.failure !== undefined) this.#openToWrite('delete()').delete(key)
  }

  async save (): Promise<void> {
    await this.#saving
    const document = this.#document
    if (document === undefined || !document.isChanged) return
    // What is changed while this is on its way is the next save's.
    this.#document = new Document(document.toText())
    this.#saving = this.#keep(document).finally(() => { this.#saving = undefined })
    await this.#saving
  }

  async signIn (userId: string, options: SignInOptions<Data> = {}): Promise<void> {
    this.#refuseWhenOff('signIn()')
    const { policy, store, keys } = this.#house
    const beginning = readBeginning(userId, options, policy)
    const before = this.#ticket ?? this.#arrival.ticket
    const ticket = newUserTicket(keys, userId)
    const document = this.#isReadable ? this.#open().pick(options.carry ?? []) : new Document('{}')
    const replaced = before?.key === ticket.key ? before.device : undefined
    const { value, ended } = await store.create(ticket, { ...beginning, document: document.toText(), replaced })

    this.#hold(ticket, value)
    this.#giveCookie(readStored(value).createdAt)
    this.#house.ended(ticket, ended)
    // The new session stands: what it replaces may as well end by its own time.
    if (before !== undefined && replaced === undefined) await this.#house.end(before, [before.device]).catch(() => {})
  }

  async signOut (): Promise<void> {
    const ticket = this.#ticket ?? this.#arrival.ticket
    if (ticket !== undefined) await this.#house.end(ticket, [ticket.device])
    this.#leave()
  }

  async rotate (): Promise<void> {
    const { store, keys } = this.#house
    const ticket = this.#held('rotate()')
    const next = ticket.userId === undefined ? newAnonymousTicket(keys, ticket) : newUserTicket(keys, ticket.userId)
    await this.save()
    const rotated = await store.rotate(ticket, next)
    if (rotated === undefined) throw new SessionGoneError()
    const document = this.#document
    this.#hold(next, rotated.value)
    this.#document = document?.rebase(readStored(rotated.value).document, this.#house.policy.keys)
    this.#giveCookie(rotated.nowMs)
  }

  async devices (): Promise<Device[]> {
    return await this.#house.devices(this.#user('devices()').key, this.id)
  }

  async revoke (id: string): Promise<boolean> {
    const user = this.#user('revoke()')
    const ended = await this.#house.end(user, [id])
    if (id === user.device) this.#leave()
    return ended.length > 0
  }

  async revokeOthers (): Promise<number> {
    const user = this.#user('revokeOthers()')
    return (await this.#house.endOthers(user)).length
  }

  async #keep (document: Document): Promise<void> {
    const { policy, store, saver, keys } = this.#house
    const ticket = this.#ticket
    if (ticket !== undefined && this.#value !== undefined) {
      this.#value = await saver.save(ticket, this.#value, document)
      if (this.#arrival.isOld && this.cookie === undefined) this.#giveCookie(readStored(this.#value).seenAt)
    } else {
      // A name that came in a cookie but is not known is nobody's to keep: somebody may have planted it.
      const fresh = newAnonymousTicket(keys)
      const { value } = await store.create(fresh, { ...policy, label: undefined, document: document.toText() })
      this.#ticket = fresh
      this.#value = value
      this.#giveCookie(readStored(value).createdAt)
    }
    this.#document = this.#document?.rebase(readStored(this.#value).document, policy.keys)
  }

  get #isReadable (): boolean {
    return this.failure === undefined
  }

  #open (): Document {
    this.#document ??= new Document(this.#value === undefined ? '{}' : readStored(this.#value).document)
    return this.#document
  }

  #openToWrite (call: string): Document {
    this.#refuseWhenOff(call)
    if (this.failure !== undefined) throw unavailable(this.failure)
    return this.#open()
  }

  #refuseWhenOff (call: string): void {
    if (this.#arrival.isOff) throw new SessionOffError(call)
  }

  #held (call: string): Ticket {
    this.#refuseWhenOff(call)
    if (this.failure !== undefined) throw unavailable(this.failure)
    if (this.#ticket === undefined) throw new SessionRequiredError()
    return this.#ticket
  }

  #user (call: string): Ticket {
    const ticket = this.#held(call)
    if (ticket.userId === undefined) throw new SessionRequiredError()
    return ticket
  }

  #hold (ticket: Ticket, value: string): void {
    this.#ticket = ticket
    this.#value = value
    this.#document = undefined
    this.failure = undefined
  }

  #leave (): void {
    this.#ticket = this.#value = this.#document = this.failure = undefined
    this.cookie = this.#arrival.hasCookie || this.cookie !== undefined ? 'clear' : undefined
  }

  #giveCookie (nowMs: number): void {
    if (this.#ticket === undefined || this.#value === undefined) return
    const leftMs = readStored(this.#value).absoluteEndAt - nowMs
    this.cookie = { ticket: this.#ticket, maxAgeSeconds: Math.max(1, Math.floor(leftMs / 1000)) }
  }
}

/** The error for a session that could not be loaded. */
export function unavailable (failure: Error): Error {
  return 'code' in failure && failure.code === 'PRISM_ERR_SESSION_CORRUPT' ? failure : Object.assign(new SessionUnavailableError('Redis is away'), { retryAfterSeconds: 1, cause: failure })
}

function readBeginning<Data> (userId: string, { idle, absolute, label }: SignInOptions<Data>, policy: House['policy']): { idleMs: number, absoluteMs: number, label: string | undefined } {
  if (typeof userId !== 'string' || userId === '' || Buffer.byteLength(userId) > 512 || !userId.isWellFormed()) throw new OptionError('signIn(userId)', 'a text of 1 to 512 bytes', typeof userId)
  if (label !== undefined && (typeof label !== 'string' || label.length > 100 || !label.isWellFormed())) refuse('signIn(label)', 'a text of at most 100 characters', label)
  const absoluteMs = absolute === undefined ? policy.absoluteMs : readDuration('signIn(absolute)', absolute)
  const idleMs = idle === undefined ? Math.min(policy.idleMs, absoluteMs) : readDuration('signIn(idle)', idle)
  return { absoluteMs, idleMs, label }
}
