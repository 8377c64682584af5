import { SessionConflictError, SessionCorruptError, SessionTooLargeError, SessionValueError } from '../shared/errors.ts'
import { copyJson } from '../shared/json.ts'
import type { KeyRule, KeyRules } from './conflict-rules.ts'

type Update = (value: unknown) => unknown

/** What a request did to one key: `updates` can be done again on another value, a plain set or delete cannot. */
interface Change {
  readonly base: string | undefined
  readonly updates: readonly Update[] | undefined
  /** a plain set or delete that does not depend on the value before it: the request had not read the key */
  readonly isBlind: boolean
}

/** A document has at most so many bytes. */
export const documentLimitBytes = 8192

/**
 * A session's document as one request sees and changes it: named values of JSON.
 *
 * It remembers each changed key's first value, so that its changes can be carried over to what another request saved meanwhile.
 */
export class SessionData {
  readonly #values: Map<string, unknown>
  readonly #changes = new Map<string, Change>()
  readonly #reads: Set<string>
  #hasOverwritten = false

  /**
   * @param text an object of JSON
   * @param reads the keys that the request has read; those that it reads here are added
   * @throws {SessionCorruptError} PRISM_ERR_SESSION_CORRUPT
   */
  constructor (text: string, reads = new Set<string>()) {
    this.#values = new Map(Object.entries(parse(text)))
    this.#reads = reads
  }

  get isChanged (): boolean {
    return this.#changes.size > 0
  }

  /** A rebase has kept this document's value of a key over one that another request saved and this one has not read. */
  get hasOverwritten (): boolean {
    return this.#hasOverwritten
  }

  /** The value, frozen to its depth: a change made in place would be lost in silence. */
  get (key: string): unknown {
    this.#reads.add(key)
    return freeze(this.#values.get(key))
  }

  /** @throws {SessionValueError} PRISM_ERR_SESSION_VALUE; {SessionTooLargeError} PRISM_ERR_SESSION_TOO_LARGE */
  set (key: string, value: unknown): void {
    const copy = keep(key, value)
    this.#change(key, copy, { updates: undefined, isBlind: this.#isBlind(key) })
  }

  /** Like {@link set}, with what `update` makes of the value; undefined deletes. */
  update (key: string, update: Update): unknown {
    const before = this.#changes.get(key)
    if (before === undefined) this.#reads.add(key)
    const updates = before === undefined ? [update] : before.updates && [...before.updates, update]
    this.#change(key, updated(key, update, this.#values.get(key)), { updates, isBlind: before?.isBlind === true })
    return freeze(this.#values.get(key))
  }

  delete (key: string): void {
    if (this.#values.has(key)) this.#change(key, undefined, { updates: undefined, isBlind: this.#isBlind(key) })
  }

  /** As JSON, to be kept. */
  toText (): string {
    return JSON.stringify(Object.fromEntries(this.#values))
  }

  /**
   * A document for another session: the values of these names, as this request has left them.
   *
   * @param text what is stored now, which another request may have changed: its changes of these names are joined as in {@link rebase}, but
   *   nothing is overwritten
   * @throws {SessionConflictError} PRISM_ERR_SESSION_CONFLICT
   */
  carry (names: readonly string[], text: string, rules: KeyRules): SessionData {
    const stored = new SessionData(text)
    const carried = new SessionData('{}')
    for (const name of names) if (stored.#values.has(name)) carried.#values.set(name, stored.#values.get(name))
    for (const name of names) {
      const change = this.#changes.get(name)
      if (change !== undefined) carried.#redo(name, { ...change, isBlind: false }, this.#values.get(name), rules.get(name))
    }
    return carried
  }

  /**
   * Does this document's changes again on what another request saved: keys that only one of both changed survive from each,
   * updates run again, a key that both set follows its rule; without one a set of a key that the request had not read wins.
   *
   * @throws {SessionConflictError} PRISM_ERR_SESSION_CONFLICT
   */
  rebase (text: string, rules: KeyRules): SessionData {
    const next = new SessionData(text, this.#reads)
    next.#hasOverwritten = this.#hasOverwritten
    for (const [key, change] of this.#changes) next.#redo(key, change, this.#values.get(key), rules.get(key))
    return next
  }

  #redo (key: string, change: Change, mine: unknown, rule: KeyRule | undefined): void {
    const theirs = this.#values.get(key)
    const isUntouched = spell(theirs) === change.base
    // Alike, two sets are one; two updates, or what a merge adds up, are still two.
    const isPlain = change.updates === undefined && (rule === undefined || 'lastWriteWins' in rule)
    if (!isUntouched && isPlain && spell(theirs) === spell(mine)) return
    if (!isUntouched && isPlain) this.#hasOverwritten = true
    this.#change(key, isUntouched ? mine : joined(key, change, mine, theirs, rule), change)
  }

  /** Whether a set that comes now depends on nothing that is stored: what the request reads after its own set is its own. */
  #isBlind (key: string): boolean {
    const before = this.#changes.get(key)
    return before === undefined ? !this.#reads.has(key) : before.isBlind
  }

  #change (key: string, value: unknown, { updates, isBlind }: Omit<Change, 'base'>): void {
    if (typeof key !== 'string') throw new SessionValueError(String(key), 'the key has to be a text')
    const before = this.#values.get(key)
    const base = this.#changes.has(key) ? this.#changes.get(key)?.base : spell(before)
    if (value === undefined) this.#values.delete(key)
    else this.#values.set(key, value)
    const bytes = value === undefined ? 0 : Buffer.byteLength(this.toText())
    if (bytes > documentLimitBytes) {
      if (before === undefined) this.#values.delete(key)
      else this.#values.set(key, before)
      throw new SessionTooLargeError(bytes, documentLimitBytes)
    }
    this.#changes.set(key, { base, updates, isBlind })
  }
}

/** What becomes of a key that this request and another one have both changed. */
function joined (key: string, { base, updates, isBlind }: Change, mine: unknown, theirs: unknown, rule: KeyRule | undefined): unknown {
  if (updates !== undefined) return updates.reduce<unknown>((value, update) => updated(key, update, value), theirs)
  if (rule === undefined ? isBlind : 'lastWriteWins' in rule) return mine
  if (rule === undefined || 'lastWriteWins' in rule) throw new SessionConflictError(key)
  const read = (text: string | undefined) => text === undefined ? undefined : JSON.parse(text)
  return updated(key, (value) => rule.merge(read(base), read(spell(mine)), value), theirs)
}

/** What an update makes of a copy: it may change that in place. */
function updated (key: string, update: Update, value: unknown): unknown {
  const next = update(structuredClone(value))
  return next === undefined ? undefined : keep(key, next)
}

function spell (value: unknown): string | undefined {
  return JSON.stringify(value)
}

/** A copy of what JSON keeps of a value, where that is all of it. */
function keep (key: string, value: unknown): unknown {
  return copyJson(value, (reason) => { throw new SessionValueError(key, reason) })
}

function parse (text: string): object {
  try {
    const document: unknown = JSON.parse(text)
    if (typeof document === 'object' && document !== null && !Array.isArray(document)) return document
  } catch { // no JSON: the same as JSON of another kind
  }
  throw new SessionCorruptError()
}

function freeze (value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value
  for (const part of Object.values(value)) freeze(part)
  return Object.freeze(value)
}
