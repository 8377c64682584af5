import { SessionConflictError, SessionCorruptError, SessionTooLargeError, SessionValueError } from '../errors.ts'
import type { KeyRule } from './policy.ts'

type Update = (value: unknown) => unknown

/** What a request did to one key: `updates` can be done again on another value, a plain set or delete cannot. */
interface Change {
  readonly base: string | undefined
  readonly updates: readonly Update[] | undefined
}

/** A document has at most so many bytes. */
export const documentLimitBytes = 8192

/**
 * A session's document as one request sees and changes it: named values of JSON.
 *
 * It remembers each changed key's first value, so that its changes can be carried over to what another request saved meanwhile.
 */
export class Document {
  readonly #values: Map<string, unknown>
  readonly #changes = new Map<string, Change>()

  /**
   * @param text an object of JSON
   * @throws {SessionCorruptError} PRISM_ERR_SESSION_CORRUPT
   */
  constructor (text: string) {
    this.#values = new Map(Object.entries(parse(text)))
  }

  get isChanged (): boolean {
    return this.#changes.size > 0
  }

  /** The value, frozen to its depth: a change made in place would be lost in silence. */
  get (key: string): unknown {
    return freeze(this.#values.get(key))
  }

  /** @throws {SessionValueError} PRISM_ERR_SESSION_VALUE; {SessionTooLargeError} PRISM_ERR_SESSION_TOO_LARGE */
  set (key: string, value: unknown): void {
    const copy = JSON.parse(write(key, value))
    this.#change(key, copy, undefined)
  }

  /** Like {@link set}, with what `update` makes of the value; undefined deletes. */
  update (key: string, update: Update): unknown {
    const before = this.#changes.get(key)
    const updates = before === undefined ? [update] : before.updates && [...before.updates, update]
    this.#change(key, updated(key, update, this.#values.get(key)), updates)
    return this.get(key)
  }

  delete (key: string): void {
    if (this.#values.has(key)) this.#change(key, undefined, undefined)
  }

  /** As JSON, to be kept. */
  toText (): string {
    return JSON.stringify(Object.fromEntries(this.#values))
  }

  /** Only the values with these names. */
  pick (keys: readonly string[]): Document {
    const picked = new Document('{}')
    for (const key of keys) if (this.#values.has(key)) picked.#values.set(key, this.#values.get(key))
    return picked
  }

  /**
   * Does this document's changes again on what another request saved: keys that only one of both changed survive from each,
   * updates run again, a key that both set follows its rule.
   *
   * @throws {SessionConflictError} PRISM_ERR_SESSION_CONFLICT
   */
  rebase (text: string, rules: ReadonlyMap<string, KeyRule>): Document {
    const next = new Document(text)
    for (const [key, change] of this.#changes) next.#redo(key, change, this.#values.get(key), rules.get(key))
    return next
  }

  #redo (key: string, change: Change, mine: unknown, rule: KeyRule | undefined): void {
    const theirs = this.#values.get(key)
    const isUntouched = spell(theirs) === change.base
    // Alike, two sets are one; two updates, or what a merge adds up, are still two.
    const isPlain = change.updates === undefined && (rule === undefined || 'lastWriteWins' in rule)
    if (!isUntouched && isPlain && spell(theirs) === spell(mine)) return
    this.#change(key, isUntouched ? mine : joined(key, change, mine, theirs, rule), change.updates)
  }

  #change (key: string, value: unknown, updates: Change['updates']): void {
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
    this.#changes.set(key, { base, updates })
  }
}

/** What becomes of a key that this request and another one have both changed. */
function joined (key: string, { base, updates }: Change, mine: unknown, theirs: unknown, rule: KeyRule | undefined): unknown {
  if (updates !== undefined) return updates.reduce<unknown>((value, update) => updated(key, update, value), theirs)
  if (rule === undefined) throw new SessionConflictError(key)
  if ('lastWriteWins' in rule) return mine
  const read = (text: string | undefined) => text === undefined ? undefined : JSON.parse(text)
  return updated(key, (value) => rule.merge(read(base), read(spell(mine)), value), theirs)
}

/** What an update makes of a copy: it may change that in place. */
function updated (key: string, update: Update, value: unknown): unknown {
  const next = update(structuredClone(value))
  return next === undefined ? undefined : JSON.parse(write(key, next))
}

function spell (value: unknown): string | undefined {
  return JSON.stringify(value)
}

function write (key: string, value: unknown): string {
  // JSON writes {} for it, and what it was to bring would be lost in silence.
  if (value instanceof Promise) throw new SessionValueError(key, 'it is a promise: await it first')
  try {
    const text = JSON.stringify(value)
    if (text !== undefined) return text
  } catch (error) {
    throw new SessionValueError(key, error instanceof TypeError ? 'it cannot be written as JSON' : 'its toJSON failed')
  }
  throw new SessionValueError(key, `JSON has no ${typeof value}`)
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
