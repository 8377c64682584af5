import { randomUUID } from 'node:crypto'
import type { DatabaseSync, StatementSync } from 'node:sqlite'
import { AttemptsFullError, CredentialsError, NameTakenError, UserUnknownError } from '../errors.ts'
import { hashPassword, verifyPassword } from './password.ts'

/** A user. The ID is random: a rebuilt atlas must not assign an old session to a new user. */
interface User {
  id: string
  name: string
}

const constraintUnique = 2067

/** The users of the atlas. */
export class Users {
  readonly #insert: StatementSync
  readonly #byId: StatementSync
  readonly #byName: StatementSync

  /** @param database a loaded atlas */
  constructor (database: DatabaseSync) {
    this.#insert = database.prepare('INSERT INTO users (id, name, name_key, password, created_at) VALUES (?, ?, ?, ?, ?)')
    this.#byId = database.prepare('SELECT id, name FROM users WHERE id = ?')
    this.#byName = database.prepare('SELECT id, name, password FROM users WHERE name_key = ?')
  }

  /**
   * Adds a user. Names are unique regardless of case and of Unicode compatibility forms.
   *
   * @throws {NameTakenError} PRISM_ERR_NAME_TAKEN
   */
  async create (name: string, password: string): Promise<User> {
    const user = { id: randomUUID(), name: name.normalize('NFKC') }
    const hashed = await hashPassword(password)
    try {
      this.#insert.run(user.id, user.name, keyOf(name), hashed, Date.now())
      return user
    } catch (error) {
      if (isUniqueFault(error)) throw new NameTakenError(user.name)
      throw error
    }
  }

  /** The name under which sign-in attempts are counted, whether the account exists or not: the same for all spellings that {@link verify} accepts. */
  accountOf (name: string): string {
    return keyOf(name)
  }

  /** The error for a client that has used up the attempts of an account; it does not reveal whether the account exists. */
  attemptsFull (retryMs: number): Error {
    const retryAfterSeconds = Math.max(1, Math.ceil(retryMs / 1000))
    return Object.assign(new AttemptsFullError(retryAfterSeconds), { retryAfterSeconds })
  }

  /** @throws {CredentialsError} PRISM_ERR_CREDENTIALS, the same and as slowly for an unknown name as for a wrong password. */
  async verify (name: string, password: string): Promise<User> {
    const row = this.#byName.get(keyOf(name))
    const isRight = await verifyPassword(password, row && String(row.password))
    if (row === undefined || !isRight) throw new CredentialsError()
    return { id: String(row.id), name: String(row.name) }
  }

  /**
   * The user of a session. A session can outlive the database of its user.
   *
   * @throws {UserUnknownError} PRISM_ERR_USER_UNKNOWN
   */
  of (session: { readonly userId: string | undefined }): User {
    const row = this.#byId.get(session.userId ?? '')
    if (row === undefined) throw new UserUnknownError()
    return { id: String(row.id), name: String(row.name) }
  }
}

// Upper then lower case approximates Unicode case folding: `Straße` and `STRASSE` are one name.
function keyOf (name: string): string {
  return name.normalize('NFKC').toUpperCase().toLowerCase().normalize('NFKC')
}

function isUniqueFault (error: unknown): boolean {
  return error instanceof Error && 'errcode' in error && error.errcode === constraintUnique
}
