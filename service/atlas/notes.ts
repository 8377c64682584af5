import type { DatabaseSync, SQLOutputValue, StatementSync } from 'node:sqlite'

/** One user's note about one city; `updatedAt` is an RFC 3339 instant. */
interface Note {
  author: string
  text: string
  updatedAt: string
}

const shown = 100

/** Notes about cities: one per user and city; the last one written is stored. */
export class Notes {
  readonly #ofCity: StatementSync
  readonly #write: StatementSync

  /** @param database a loaded atlas */
  constructor (database: DatabaseSync) {
    this.#ofCity = database.prepare(`
      SELECT users.name AS author, text, updated_at FROM notes JOIN users ON users.id = user_id
      WHERE city_id = ? ORDER BY updated_at DESC, user_id LIMIT ${shown}`)
    this.#write = database.prepare(`
      INSERT INTO notes (city_id, user_id, text, updated_at) VALUES (:cityId, :userId, :text, :at)
      ON CONFLICT (city_id, user_id) DO UPDATE SET text = excluded.text, updated_at = excluded.updated_at`)
  }

  /** The notes of a city, the newest first, at most 100. */
  of (cityId: number): Note[] {
    return this.#ofCity.all(cityId).map(noteOf)
  }

  /** Replaces a user's note about a city; idempotent. The user must exist. */
  write (cityId: number, user: { id: string, name: string }, written: string): Note {
    const text = written.toWellFormed() // in the form that UTF-8 stores
    const at = Date.now()
    this.#write.run({ cityId, userId: user.id, text, at })
    return { author: user.name, text, updatedAt: new Date(at).toISOString() }
  }
}

function noteOf (row: Record<string, SQLOutputValue>): Note {
  return { author: String(row.author), text: String(row.text), updatedAt: new Date(Number(row.updated_at)).toISOString() }
}
