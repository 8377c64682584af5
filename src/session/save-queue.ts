import { RedisUnavailableError, SessionConflictError, SessionEndedError } from '../shared/errors.ts'
import type { SessionData } from './session-data.ts'
import type { KeyRules } from './conflict-rules.ts'
import type { SessionStore } from './session-store.ts'
import { readSessionRecord } from './session-record.ts'
import type { SessionToken } from './session-token.ts'

/** A save that lost this often to other processes gives up. */
const triesLimit = 100

/**
 * Saves documents: one after the other for each device, so that many writers in one process cost a round trip each;
 * what other processes saved meanwhile is merged.
 */
export class SaveQueue {
  /** How saves ended since the start; a `conflict` was merged and saved again, and a save that set a key over what another request had set is `overwritten` too. */
  readonly counts = { saved: 0, conflict: 0, gone: 0, overwritten: 0 }
  readonly #store: SessionStore
  readonly #rules: KeyRules
  readonly #turns = new Map<string, Promise<string>>()

  constructor (store: SessionStore, rules: KeyRules) {
    this.#store = store
    this.#rules = rules
  }

  /**
   * @param value the stored value that the document was read from
   * @returns the value as it is stored now
   * @throws {SessionGoneError} PRISM_ERR_SESSION_ENDED; {SessionConflictError} PRISM_ERR_SESSION_CONFLICT;
   *   {SessionTooLargeError} PRISM_ERR_SESSION_TOO_LARGE; {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE: it may have been saved
   */
  save (token: SessionToken, value: string, data: SessionData): Promise<string> {
    const name = token.key + token.field
    const before = this.#turns.get(name) ?? Promise.resolve(value)
    const turn = before.then((latest) => this.#attempt(token, value, latest, data), (error) => {
      // While Redis is away nobody behind the first waits for a deadline of their own.
      if (error instanceof RedisUnavailableError) throw error
      return this.#attempt(token, value, value, data)
    })
    this.#turns.set(name, turn)
    const leave = () => { if (this.#turns.get(name) === turn) this.#turns.delete(name) }
    turn.then(leave, leave)
    return turn
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
