import { RedisUnavailableError, SessionConflictError, SessionEndedError } from '../shared/errors.ts'
import type { SessionData } from './session-data.ts'
import type { ConflictRules } from './conflict-rules.ts'
import type { SessionStore } from './session-store.ts'
import { readSessionRecord } from './session-record.ts'
import type { SessionToken } from './session-token.ts'

/** Maximum attempts of a save that conflicts with other processes. */
const triesLimit = 100

/**
 * Serializes the saves of each session, so that concurrent writers in one process cost one round trip each.
 * Saves of other processes are merged.
 */
export class SaveQueue {
  /** Outcomes of saves since the start. A `conflict` was merged and retried; `overwritten` counts saves that replaced another request's value of a key. */
  readonly counts = { saved: 0, conflict: 0, gone: 0, overwritten: 0 }
  readonly #store: SessionStore
  readonly #rules: ConflictRules
  readonly #pending = new Map<string, Promise<string>>()

  constructor (store: SessionStore, rules: ConflictRules) {
    this.#store = store
    this.#rules = rules
  }

  /**
   * @param value the stored value that the document was read from
   * @returns the stored value after the save
   * @throws {SessionEndedError} PRISM_ERR_SESSION_ENDED; {SessionConflictError} PRISM_ERR_SESSION_CONFLICT;
   *   {SessionTooLargeError} PRISM_ERR_SESSION_TOO_LARGE; {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE: the save may have been executed
   */
  save (token: SessionToken, value: string, data: SessionData): Promise<string> {
    const name = token.key + token.field
    const before = this.#pending.get(name) ?? Promise.resolve(value)
    const pending = before.then((latest) => this.#attempt(token, value, latest, data), (error) => {
      // During an outage, queued saves fail with the first one instead of each waiting for its own timeout.
      if (error instanceof RedisUnavailableError) throw error
      return this.#attempt(token, value, value, data)
    })
    this.#pending.set(name, pending)
    const remove = () => { if (this.#pending.get(name) === pending) this.#pending.delete(name) }
    pending.then(remove, remove)
    return pending
  }

  async #attempt (token: SessionToken, value: string, latest: string, data: SessionData): Promise<string> {
    let base = readSessionRecord(value)
    let mine = data
    const known = readSessionRecord(latest)
    if (Number(known.version) > Number(base.version)) [base, mine] = [known, data.rebase(known.document, this.#rules)]
    for (let tries = 0; tries < triesLimit; tries++) {
      const saved = await this.#store.save(token, base.version, mine.toText())
      this.counts[saved.outcome] += 1
      if (saved.outcome === 'gone') throw new SessionEndedError()
      if (saved.outcome === 'saved') {
        if (mine.hasOverwritten) this.counts.overwritten += 1
        return saved.value
      }
      base = readSessionRecord(saved.value)
      mine = data.rebase(base.document, this.#rules)
    }
    throw new SessionConflictError('it')
  }
}
