import { SessionCorruptError } from '../errors.ts'
import type { Answer } from '../redis/answer.ts'
import type { Batch, Priority } from '../redis/batch.ts'
import { Script } from '../redis/script.ts'
import type { Beginning } from './beginning.ts'
import { writeLabel } from './stored.ts'
import { fieldsOf } from './ticket.ts'
import type { Ticket } from './ticket.ts'

/** A live session as a load found it. */
export interface Loaded {
  readonly value: string
  /** when this load noted that the session was seen, by Redis's clock, milliseconds since 1970; undefined where it did not */
  readonly touchedAt: number | undefined
  /** it stands under the ticket's earlier id */
  readonly isEarlier: boolean
}

/** A session that was ended, and how long it could have lived. */
export interface Ended {
  readonly field: string
  readonly bornAt: number
  readonly leftMs: number
}

/** Which sessions of one bearer shall end. */
export interface Ending {
  readonly which: 'these' | 'others'
  readonly names: readonly (string | number)[]
  readonly actor?: string
}

/** What became of a save: `gone` when the session has ended, `conflict` with what another request saved. */
export type Saved = { outcome: 'saved' | 'conflict', value: string } | { outcome: 'gone' }

/** A user has at most so many devices. */
const deviceLimit = 10
/**
 * A version grows by a random step of at most this. After Redis has come back with an older snapshot, other saves would otherwise count up to
 * a version that a request has read before, and that request's save would replace theirs. Doubles order the versions of 2^33 saves.
 */
const longestStep = 2 ** 20
/** A visit is noted at most so often. */
const touchMs = 60_000

type Reply = readonly (string | number)[]

const loadScript = new Script<Loaded | undefined>({
  url: new URL('./load.lua', import.meta.url),
  costMicroseconds: 5,
  read: (reply) => {
    if (reply === null || reply === false) return undefined
    if (reply === 'corrupt') throw new SessionCorruptError()
    const text = reply as string
    if (text[0] !== '+') return { value: text, touchedAt: undefined, isEarlier: false }
    return { value: text.slice(16), touchedAt: text[14] === '1' ? Number(text.slice(1, 14)) : undefined, isEarlier: text[15] === '1' }
  }
})

const saveScript = new Script<Saved>({
  url: new URL('./save.lua', import.meta.url),
  costMicroseconds: 10,
  read: (reply) => {
    const [outcome, value] = reply as Reply
    if (outcome === 'corrupt') throw new SessionCorruptError()
    return outcome === 'gone' ? { outcome } : { outcome: outcome === 'saved' ? 'saved' : 'conflict', value: String(value) }
  }
})

const createScript = new Script<{ value: string, ended: Ended[] }>({
  url: new URL('./create.lua', import.meta.url),
  costMicroseconds: 30,
  read: (reply) => {
    const [value, ...ended] = reply as Reply
    return { value: String(value), ended: readEnded(ended) }
  }
})

const rotateScript = new Script<{ value: string, nowMs: number } | undefined>({
  url: new URL('./rotate.lua', import.meta.url),
  costMicroseconds: 10,
  read: (reply) => {
    const [outcome, value, nowMs] = reply as Reply
    if (outcome === 'corrupt') throw new SessionCorruptError()
    return outcome === 'gone' ? undefined : { value: String(value), nowMs: Number(nowMs) }
  }
})

const revokeScript = new Script<Ended[] | undefined>({ url: new URL('./revoke.lua', import.meta.url), costMicroseconds: 20, read: (reply) => Array.isArray(reply) ? readEnded(reply) : undefined })

const listScript = new Script<string[]>({
  url: new URL('./list.lua', import.meta.url),
  costMicroseconds: 20,
  read: (reply) => reply as string[]
})

/**
 * How Redis keeps sessions: a hash a user, a field a device. Every method is one round trip.
 *
 * @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE from each of them; what was asked may have run all the same
 */
export class SessionStore {
  readonly #batch: Batch
  /** a Map a tick: one that is cleared leads from its old table to its new one, and in V8 what an old table held lives as long */
  #loading = new Map<Ticket, Answer<Loaded | undefined>>()

  constructor (batch: Batch) {
    this.#batch = batch
  }

  /** Reads a live session; loads of one ticket in one tick are one: a later request must see what happened meanwhile. It writes at most once a minute. */
  load (ticket: Ticket): Answer<Loaded | undefined> {
    const shared = this.#loading.get(ticket)
    if (shared !== undefined) return shared
    // Forgotten before the next socket is read: nobody's session stays in memory until somebody comes again.
    if (this.#loading.size === 0) setImmediate(() => { this.#loading = new Map() })
    const loading = this.#batch.asking(loadScript, [ticket.key], [touchMs, ...fieldsOf(ticket)])
    this.#loading.set(ticket, loading)
    return loading
  }

  /** Begins a session; `ended` are those that made room. */
  create (ticket: Ticket, { idleMs, absoluteMs, label, document, replaced = 0 }: Beginning): Promise<{ value: string, ended: Ended[] }> {
    return this.#batch.ask(createScript, [ticket.key], [ticket.field, idleMs, absoluteMs, writeLabel(label), document, deviceLimit, replaced, touchMs])
  }

  /** Replaces the document if it still has this version. */
  save (ticket: Ticket, version: string, document: string): Promise<Saved> {
    return this.#batch.ask(saveScript, [ticket.key], [ticket.field, version, document, touchMs, 1 + Math.floor(Math.random() * longestStep)])
  }

  /** Moves a session to a new id of the same subject; undefined when it has ended. */
  rotate (from: Ticket, to: Ticket): Promise<{ value: string, nowMs: number } | undefined> {
    return this.#batch.ask(rotateScript, [from.key], [from.field, to.field])
  }

  /**
   * Ends sessions of one bearer: `these`, or all `others`, each named by its field, or by when it was born.
   *
   * @param actor the field of who does it, when somebody's session does: if that has been ended meanwhile, nothing is
   * @returns those that were ended; undefined when the actor's had been
   */
  revoke (key: string, { which, names, actor = '' }: Ending, priority?: Priority): Promise<Ended[] | undefined> {
    return this.#batch.ask(revokeScript, [key], [which, actor, ...names], priority)
  }

  /** What stands before the document of each live session of one bearer. */
  list (key: string): Promise<string[]> {
    return this.#batch.ask(listScript, [key], [])
  }
}

function readEnded (reply: Reply): Ended[] {
  return Array.from({ length: reply.length / 3 }, (_, index) => {
    const [field, bornAt, leftMs] = reply.slice(3 * index)
    return { field: String(field), bornAt: Number(bornAt), leftMs: Number(leftMs) }
  })
}
