import { readDuration, invalidOption } from '../shared/option-readers.ts'
import type { SessionPolicy } from './options.ts'
import type { SignInOptions } from './session.ts'

/** What a new session begins with. */
export interface NewSession {
  readonly idleMs: number
  readonly absoluteMs: number
  readonly label: string | undefined
  /** JSON */
  readonly document: string
  /** when the session was born that it takes the place of, one of the same bearer */
  readonly replaced?: number | undefined
  /** the version that one was read at, where a save since then matters */
  readonly replacedVersion?: string | undefined
}

const userIdLimitBytes = 512
const labelLimit = 100

/**
 * Reads who signs in.
 *
 * @throws {OptionError} PRISM_ERR_OPTION
 */
export function readUserId (userId: unknown): string {
  // Lone surrogates all become the same character in UTF-8: two users would be one.
  const isFine = typeof userId === 'string' && userId !== '' && Buffer.byteLength(userId) <= userIdLimitBytes && userId.isWellFormed()
  return isFine ? userId : invalidOption('signIn(userId)', `a text of 1 to ${userIdLimitBytes} bytes`, userId)
}

/**
 * Reads how long a session lasts and how it is labelled: as the sign-in says, else as the app does.
 *
 * @throws {OptionError} PRISM_ERR_OPTION
 */
export function readNewSession<Data> ({ idleTimeout: idle, absoluteTimeout: absolute, label }: SignInOptions<Data>, policy: SessionPolicy): Omit<NewSession, 'document' | 'replaced' | 'replacedVersion'> {
  const absoluteMs = absolute === undefined ? policy.absoluteMs : readDuration('signIn(absoluteTimeout)', absolute)
  const idleMs = idle === undefined ? Math.min(policy.idleMs, absoluteMs) : readDuration('signIn(idleTimeout)', idle)
  if (idleMs > absoluteMs) invalidOption('signIn(idleTimeout)', `at most absoluteTimeout (${absoluteMs} ms)`, idle)
  return { absoluteMs, idleMs, label: readLabel(label) }
}

function readLabel (label: unknown): string | undefined {
  const isFine = label === undefined || (typeof label === 'string' && label.length <= labelLimit && label.isWellFormed())
  return isFine ? label : invalidOption('signIn(label)', `a text of at most ${labelLimit} characters`, label)
}
