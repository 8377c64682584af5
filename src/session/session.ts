import type { Duration } from '../shared/option-readers.ts'

/** A value read from a session, deeply frozen: a change in place would not be saved. */
export type Frozen<Value> = Value extends object ? { readonly [Key in keyof Value]: Frozen<Value[Key]> } : Value

/** `live`: a user is signed in; `anonymous`: no user is; `unavailable`: the session cannot be read now, so neither is known. */
export type SessionState = 'anonymous' | 'live' | 'unavailable'

/** Options of one sign-in; defaults are the session options of the app. */
export interface SignInOptions<Data> {
  /** keys of the old session's data to copy into the new session; default none */
  keep?: readonly (keyof Data & string)[]
  /** the session ends after this time without a request */
  idleTimeout?: Duration
  /** the session ends after this time in any case; longer for "remember me" */
  absoluteTimeout?: Duration
  /** name of this device in the list of devices, at most 100 characters; default: browser and system, such as `Firefox on Windows`; `''`: none */
  label?: string
}

/** One signed-in session of a user, shown as a device. */
export interface Device {
  /** public ID, not a credential */
  readonly id: string
  readonly label: string | undefined
  /** whether it is the session of the current request */
  readonly isCurrent: boolean
  /** time of the sign-in: milliseconds since 1970 by Redis's clock */
  readonly createdAt: number
  /** time of the last request; updated at most once a minute */
  readonly seenAt: number
  /** time at which the session ends if no request arrives before */
  readonly endsAt: number
}

/**
 * The session of a request. It is loaded with the request's single Redis round trip; changes are saved in the onSend hook.
 */
export interface Session<Data extends object> {
  /** public device ID; undefined while no session is stored */
  readonly id: string | undefined
  /** ID of the signed-in user; undefined for an anonymous session */
  readonly userId: string | undefined
  /** no stored session was loaded for the request */
  readonly isNew: boolean
  readonly state: SessionState

  /** Returns the loaded value, or the value this request has set. @throws {SessionCorruptError} PRISM_ERR_SESSION_CORRUPT */
  get<Key extends keyof Data & string>(key: Key): Frozen<Data[Key]> | undefined
  /**
   * Sets a value. When two requests set one key concurrently, the later save wins if this request has not read the key; otherwise it fails with a
   * conflict (409). Use {@link update} to avoid conflicts.
   *
   * @throws {SessionValueError} PRISM_ERR_SESSION_VALUE if JSON cannot represent the value
   */
  set<Key extends keyof Data & string>(key: Key, value: Data[Key]): void
  /** Sets the value returned by `change`. After a concurrent save, `change` runs again on the newer value: it must not have side effects. */
  update<Key extends keyof Data & string>(key: Key, change: (value: Data[Key] | undefined) => Data[Key] | undefined): Frozen<Data[Key]> | undefined
  /** Deletes a value; conflicts are handled as in {@link set}. */
  delete(key: keyof Data & string): void
  /** Lists the keys that have a value. */
  keys(): string[]
  /** Saves changes immediately instead of with the reply: for hijacked or long-running replies. */
  save(): Promise<void>

  /**
   * Creates a session with a new ID for a user and ends the current session.
   *
   * @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE: no user is signed in; {SessionUnavailableError} PRISM_ERR_SESSION_UNAVAILABLE: with `keep`,
   *   where the current session could not be loaded
   */
  signIn(userId: string, options?: SignInOptions<Data>): Promise<void>
  /** Ends the session. Resolves after Redis has confirmed it. @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE */
  signOut(): Promise<void>
  /** Gives the session a new ID and invalidates the old one; call it when privileges change. @throws {SessionEndedError} PRISM_ERR_SESSION_ENDED */
  rotate(): Promise<void>

  /** Lists the devices of this user, most recently seen first. */
  devices(): Promise<Device[]>
  /** Ends the session of one of this user's devices. @returns whether it was live */
  revoke(id: string): Promise<boolean>
  /** Ends the sessions of all other devices of this user. @returns the number of ended sessions */
  revokeOthers(): Promise<number>
}
