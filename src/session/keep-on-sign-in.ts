import { SessionConflictError } from '../shared/errors.ts'
import type { NewSession } from './new-session.ts'
import type { SessionData } from './session-data.ts'
import type { ActiveSession, SessionManager } from './session-manager.ts'
import { readSessionRecord } from './session-record.ts'
import type { Subject, SessionToken } from './session-token.ts'

/** The stored session that a sign-in replaces, with the changes of its request. */
interface Predecessor {
  readonly token: SessionToken
  /** the stored value that the document was read from */
  readonly value: string
  readonly data: SessionData
}

type Lifetime = Omit<NewSession, 'document' | 'replaced' | 'replacedVersion'>

/** Maximum attempts of a sign-in that conflicts with saves of other requests. */
const maxAttempts = 100

/**
 * Creates a session with values of the previous one and ends that one. Saves of other requests that were confirmed before the end are copied too:
 * the end fails if there was a save since the values were read, and the values are read again.
 *
 * @throws {SessionConflictError} PRISM_ERR_SESSION_CONFLICT; {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE: no user is signed in
 */
export async function moveSession (sessionManager: SessionManager, from: Predecessor, subject: Subject, lifetime: Lifetime, names: readonly string[]): Promise<ActiveSession> {
  const newSessionFrom = (value: string): NewSession => ({ ...lifetime, document: from.data.pick(names, readSessionRecord(value).document, sessionManager.policy.onConflict).toText() })
  return subject.userId === from.token.userId ? await replace(sessionManager, from, subject, newSessionFrom) : await move(sessionManager, from, subject, newSessionFrom)
}

/** Returns the parameters of the new session for a stored value of the previous one. */
type NewSessionFactory = (value: string) => NewSession

/** Same user: both sessions are in one hash, and one script replaces the session. */
async function replace (sessionManager: SessionManager, { token, value }: Predecessor, subject: Subject, newSessionFrom: NewSessionFactory): Promise<ActiveSession> {
  for (let tries = 0; tries < maxAttempts; tries++) {
    const created = await sessionManager.replace(subject, { ...newSessionFrom(value), replaced: token.createdAt, replacedVersion: readSessionRecord(value).version })
    if (!('newer' in created)) return created
    value = created.newer
  }
  throw new SessionConflictError('it')
}

/** Different users, different hash slots. The mark blocks saves of the previous session; if it expires early, the version check detects a save. */
async function move (sessionManager: SessionManager, { token, value }: Predecessor, subject: Subject, newSessionFrom: NewSessionFactory): Promise<ActiveSession> {
  let active: ActiveSession | undefined
  try {
    for (let tries = 0; tries < maxAttempts; tries++) {
      const newSession = newSessionFrom(value)
      const { version } = readSessionRecord(value)
      const marked = await sessionManager.markMoving(token, version)
      if (typeof marked === 'object') {
        value = marked.newer
        continue
      }
      active = active === undefined ? await sessionManager.create(subject, newSession) : await sessionManager.replaceDocument(active, newSession.document)
      const saved = await sessionManager.endReplaced(token, marked === 'gone' ? undefined : version)
      if (saved === undefined) return active
      value = saved.newer
    }
    throw new SessionConflictError('it')
  } catch (error) {
    // No client has received its cookie.
    if (active !== undefined) sessionManager.tombstones.retryRevoke(active.token.key, active.token.field)
    throw error
  }
}
