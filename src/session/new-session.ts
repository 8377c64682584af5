import { deviceLabel } from '../http/device-label.ts'
import { invalidOption, readDuration, readRecord } from '../shared/option-readers.ts'
import type { SessionPolicy } from './options.ts'
import type { SignInOptions } from './session.ts'

/** Parameters of a new session. */
export interface NewSession {
  readonly idleMs: number
  readonly absoluteMs: number
  readonly label: string | undefined
  /** JSON */
  readonly document: string
  /** creation time of the session of the same subject that it replaces */
  readonly replaced?: number | undefined
  /** version at which that session was read; set if a later save must be detected */
  readonly replacedVersion?: string | undefined
}

const userIdLimitBytes = 512
const labelLimit = 100

/**
 * Validates the user ID of a sign-in.
 *
 * @throws {OptionError} PRISM_ERR_OPTION
 */
export function readUserId (userId: unknown): string {
  // Lone surrogates all become the same character in UTF-8: two users would share a session.
  const isFine = typeof userId === 'string' && userId !== '' && Buffer.byteLength(userId) <= userIdLimitBytes && userId.isWellFormed()
  return isFine ? userId : invalidOption('signIn(userId)', `a text of 1 to ${userIdLimitBytes} bytes`, userId)
}

/**
 * Resolves the timeouts and the label of a sign-in, with the session options of the app as defaults.
 *
 * @param userAgent the client's `User-Agent`: the label says which browser and system, unless `signIn` sets one
 * @throws {OptionError} PRISM_ERR_OPTION
 */
export function readNewSession<Data> (options: SignInOptions<Data>, policy: SessionPolicy, userAgent?: string): Omit<NewSession, 'document' | 'replaced' | 'replacedVersion'> {
  readRecord('signIn', options, ['keep', 'idleTimeout', 'absoluteTimeout', 'label'])
  const { idleTimeout: idle, absoluteTimeout: absolute, label } = options
  const absoluteMs = absolute === undefined ? policy.absoluteMs : readDuration('signIn(absoluteTimeout)', absolute)
  const idleMs = idle === undefined ? Math.min(policy.idleMs, absoluteMs) : readDuration('signIn(idleTimeout)', idle)
  if (idleMs > absoluteMs) invalidOption('signIn(idleTimeout)', `at most absoluteTimeout (${absoluteMs} ms)`, idle)
  return { absoluteMs, idleMs, label: readLabel(label) ?? deviceLabel(userAgent) }
}

function readLabel (label: unknown): string | undefined {
  const isFine = label === undefined || (typeof label === 'string' && label.length <= labelLimit && label.isWellFormed())
  return isFine ? label : invalidOption('signIn(label)', `a text of at most ${labelLimit} characters`, label)
}
