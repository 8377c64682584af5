import { SessionConflictError, SessionCorruptError, SessionTooLargeError, SessionValueError } from '../shared/errors.ts'
import { copyJson } from '../shared/json.ts'
import type { ConflictRule, ConflictRules } from './conflict-rules.ts'

type Update = (value: unknown) => unknown

/** A request's change of one key: `updates` can be reapplied to another value, a plain set or delete cannot. */
interface Change {
  readonly base: string | undefined
  readonly updates: readonly Update[] | undefined
  /** a set or delete of a key that the request had not read: it does not depend on the previous value */
  readonly isUnconditional: boolean
}

/** Maximum size of a document. */
const documentLimitBytes = 8192

/**
 * The data of a session as one request reads and changes it: JSON values by key.
 *
 * Stores the original value of each changed key, so that the changes can be rebased on what another request has saved meanwhile.
 */
export class SessionData {
  readonly #values: Map<string, unknown>
  readonly #changes = new Map<string, Change>()
  readonly #reads: Set<string>
  #hasOverwritten = false

  /**
   * @param text a JSON object
   * @param reads the keys that the request has read; reads of this document are added
   * @throws {SessionCorruptError} PRISM_ERR_SESSION_CORRUPT
   */
  constructor (text: string, reads = new Set<string>()) {
    this.#values = new Map(Object.entries(parse(text)))
    this.#reads = reads
  }

  get isChanged (): boolean {
    return this.#changes.size > 0
  }

  /** Whether a rebase has overwritten a value that another request has saved. */
  get hasOverwritten (): boolean {
    return this.#hasOverwritten
  }

  get keys (): string[] {
    return [...this.#values.keys()]
  }

  /** Returns the value deeply frozen: a change in place would not be saved. */
  get (key: string): unknown {
    this.#reads.add(key)
    return freeze(this.#values.get(key))
  }

  /** @throws {SessionValueError} PRISM_ERR_SESSION_VALUE; {SessionTooLargeError} PRISM_ERR_SESSION_TOO_LARGE */
  set (key: string, value: unknown): void {
    const copy = copyOf(key, value)
    this.#change(key, copy, { updates: undefined, isUnconditional: this.#isUnconditional(key) })
  }

  /** Like {@link set}, with the value returned by `update`; undefined deletes the key. */
  update (key: string, update: Update): unknown {
    const before = this.#changes.get(key)
    if (before === undefined) this.#reads.add(key)
    const updates = before === undefined ? [update] : before.updates && [...before.updates, update]
    this.#change(key, applyUpdate(key, update, this.#values.get(key)), { updates, isUnconditional: before?.isUnconditional === true })
    return freeze(this.#values.get(key))
  }

  delete (key: string): void {
    if (this.#values.has(key)) this.#change(key, undefined, { updates: undefined, isUnconditional: this.#isUnconditional(key) })
  }

  /** Serializes the document. */
  toText (): string {
    return JSON.stringify(Object.fromEntries(this.#values))
  }

  /**
   * Creates the document of another session from these keys, with the changes of this request.
   *
   * @param text the stored document, which another request may have changed: conflicts are resolved as in {@link rebase}, but
   *   without a rule every conflict is rejected
   * @throws {SessionConflictError} PRISM_ERR_SESSION_CONFLICT
   */
  pick (names: readonly string[], text: string, rules: ConflictRules): SessionData {
    const stored = new SessionData(text)
    const picked = new SessionData('{}')
    for (const name of names) if (stored.#values.has(name)) picked.#values.set(name, stored.#values.get(name))
    for (const name of names) {
      const change = this.#changes.get(name)
      if (change !== undefined) picked.#reapply(name, { ...change, isUnconditional: false }, this.#values.get(name), rules.get(name))
    }
    return picked
  }

  /**
   * Reapplies the changes to a document that another request has saved. Changes of different keys are combined, updates run again, and a key
   * that both have set follows its rule; without a rule, a set of a key that the request had not read overwrites.
   *
   * @throws {SessionConflictError} PRISM_ERR_SESSION_CONFLICT
   */
  rebase (text: string, rules: ConflictRules): SessionData {
    const next = new SessionData(text, this.#reads)
    next.#hasOverwritten = this.#hasOverwritten
    for (const [key, change] of this.#changes) next.#reapply(key, change, this.#values.get(key), rules.get(key))
    return next
  }

  #reapply (key: string, change: Change, mine: unknown, rule: ConflictRule | undefined): void {
    const theirs = this.#values.get(key)
    const isUntouched = serialize(theirs) === change.base
    // Two sets of equal values do not conflict; updates and merge functions must still run.
    const isPlain = change.updates === undefined && typeof rule !== 'function'
    if (!isUntouched && isPlain && serialize(theirs) === serialize(mine)) return
    if (!isUntouched && isPlain) this.#hasOverwritten = true
    this.#change(key, isUntouched ? mine : resolveConflict(key, change, mine, theirs, rule), change)
  }

  /** Whether a set now does not depend on a stored value. Reads after a set of the same request return its own value. */
  #isUnconditional (key: string): boolean {
    const before = this.#changes.get(key)
    return before === undefined ? !this.#reads.has(key) : before.isUnconditional
  }

  #change (key: string, value: unknown, { updates, isUnconditional }: Omit<Change, 'base'>): void {
    if (typeof key !== 'string') throw new SessionValueError(String(key), 'the key must be a string')
    const before = this.#values.get(key)
    const base = this.#changes.has(key) ? this.#changes.get(key)?.base : serialize(before)
    if (value === undefined) this.#values.delete(key)
    else this.#values.set(key, value)
    const bytes = value === undefined ? 0 : Buffer.byteLength(this.toText())
    if (bytes > documentLimitBytes) {
      if (before === undefined) this.#values.delete(key)
      else this.#values.set(key, before)
      throw new SessionTooLargeError(bytes, documentLimitBytes)
    }
    this.#changes.set(key, { base, updates, isUnconditional })
  }
}

/** Resolves a key that this request and another one have both changed. */
function resolveConflict (key: string, { base, updates, isUnconditional }: Change, mine: unknown, theirs: unknown, rule: ConflictRule | undefined): unknown {
  if (updates !== undefined) return updates.reduce<unknown>((value, update) => applyUpdate(key, update, value), theirs)
  if (rule === 'lastWriteWins' || (rule === undefined && isUnconditional)) return mine
  if (typeof rule !== 'function') throw new SessionConflictError(key)
  const read = (text: string | undefined) => text === undefined ? undefined : JSON.parse(text)
  return applyUpdate(key, (value) => rule(read(base), read(serialize(mine)), value), theirs)
}

/** Applies an update to a copy, which it may change in place. */
function applyUpdate (key: string, update: Update, value: unknown): unknown {
  const next = update(structuredClone(value))
  return next === undefined ? undefined : copyOf(key, next)
}

function serialize (value: unknown): string | undefined {
  return JSON.stringify(value)
}

/** Copies a value, which must be representable in JSON. */
function copyOf (key: string, value: unknown): unknown {
  if (value === undefined) throw new SessionValueError(key, 'JSON has no undefined: delete the value, or use null. A plugin that sets it needs sessionAdapter of fastify-prism/session')
  return copyJson(value, (reason) => { throw new SessionValueError(key, reason) })
}

function parse (text: string): object {
  try {
    const document: unknown = JSON.parse(text)
    if (typeof document === 'object' && document !== null && !Array.isArray(document)) return document
  } catch { // invalid JSON is handled like JSON of another type
  }
  throw new SessionCorruptError()
}

function freeze (value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value
  for (const part of Object.values(value)) freeze(part)
  return Object.freeze(value)
}
