import { SessionConflictError } from '../shared/errors.ts'
import type { NewSession } from './new-session.ts'
import type { SessionData } from './session-data.ts'
import type { ActiveSession, SessionManager } from './session-manager.ts'
import { readSessionRecord } from './session-record.ts'
import type { Subject, SessionToken } from './session-token.ts'

/** A stored session that a sign-in takes the place of, as its request has left it. */
export interface Predecessor {
  readonly token: SessionToken
  /** the stored value that the document was read from */
  readonly value: string
  readonly data: SessionData
}

type Lifetime = Omit<NewSession, 'document' | 'replaced' | 'replacedVersion'>

/** A sign-in that meets so many saves of other requests gives up. */
const triesLimit = 100

/**
 * Begins a session that carries values of the one before, and ends that one. Every save of another request that was confirmed before the end is
 * carried too: the end is refused when there was a save since the values were read, and then they are read again.
 *
 * @throws {SessionConflictError} PRISM_ERR_SESSION_CONFLICT; {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE: no user is signed in
 */
export async function moveSession (sessionManager: SessionManager, from: Predecessor, subject: Subject, lifetime: Lifetime, names: readonly string[]): Promise<ActiveSession> {
  const carried = (value: string): NewSession => ({ ...lifetime, document: from.data.carry(names, readSessionRecord(value).document, sessionManager.policy.onConflict).toText() })
  return subject.userId === from.token.userId ? await replace(sessionManager, from, subject, carried) : await move(sessionManager, from, subject, carried)
}

/** What the new session begins with where this is stored of the one before. */
type KeptValues = (value: string) => NewSession

/** Of one user: both sessions are in one slot, and one script replaces the one by the other. */
async function replace (sessionManager: SessionManager, { token, value }: Predecessor, subject: Subject, carried: KeptValues): Promise<ActiveSession> {
  for (let tries = 0; tries < triesLimit; tries++) {
    const begun = await sessionManager.replace(subject, { ...carried(value), replaced: token.createdAt, replacedVersion: readSessionRecord(value).version })
    if (!('newer' in begun)) return begun
    value = begun.newer
  }
  throw new SessionConflictError('it')
}

/** Of different users, in different slots. While the one is marked, nothing is saved to it; should the mark lapse before it has ended, its version tells. */
async function move (sessionManager: SessionManager, { token, value }: Predecessor, subject: Subject, carried: KeptValues): Promise<ActiveSession> {
  let held: ActiveSession | undefined
  try {
    for (let tries = 0; tries < triesLimit; tries++) {
      const newSession = carried(value)
      const { version } = readSessionRecord(value)
      const marked = await sessionManager.mark(token, version)
      if (typeof marked === 'object') {
        value = marked.newer
        continue
      }
      held = held === undefined ? await sessionManager.begin(subject, newSession) : await sessionManager.rewrite(held, newSession.document)
      const left = await sessionManager.endReplaced(token, marked === 'gone' ? undefined : version)
      if (left === undefined) return held
      value = left.newer
    }
    throw new SessionConflictError('it')
  } catch (error) {
    // Its cookie is given to no client.
    if (held !== undefined) sessionManager.tombstones.retryRevoke(held.token.key, held.token.field)
    throw error
  }
}
