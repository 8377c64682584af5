import type { Duration } from '../shared/option-readers.ts'

/** A value read from a session: frozen to its depth, for a change made in place would be lost in silence. */
export type Frozen<Value> = Value extends object ? { readonly [Key in keyof Value]: Frozen<Value[Key]> } : Value

/** `live`: signed in; `anonymous`: not; `unavailable`: there may be a session, but it cannot be read now. */
export type SessionState = 'anonymous' | 'live' | 'unavailable'

/** How a sign-in differs from the app's defaults. */
export interface SignInOptions<Data> {
  /** what the new session keeps of the old one's data; default nothing */
  keep?: readonly (keyof Data & string)[]
  /** ends after so long without a request */
  idleTimeout?: Duration
  /** ends after so long whatever happens: longer for "remember me" */
  absoluteTimeout?: Duration
  /** how the user will know this device in a list, at most 100 characters */
  label?: string
}

/** A place where a user is signed in. */
export interface Device {
  /** public: nobody can sign in with it */
  readonly id: string
  readonly label: string | undefined
  /** whether it is the one that asks */
  readonly isCurrent: boolean
  /** milliseconds since 1970, Redis's clock */
  readonly createdAt: number
  /** the same; noted at most once a minute */
  readonly seenAt: number
  /** the same: when it ends, if nobody comes before */
  readonly endsAt: number
}

/**
 * The visitor's session. Reading costs nothing more than the request's own round trip; what was changed is saved with the reply.
 */
export interface Session<Data extends object> {
  /** this device's public name; undefined while nothing is stored */
  readonly id: string | undefined
  /** who is signed in */
  readonly userId: string | undefined
  /** nothing of it was stored when the request came */
  readonly isNew: boolean
  readonly state: SessionState

  /** A value as it was loaded, or as this request left it. @throws {SessionCorruptError} PRISM_ERR_SESSION_CORRUPT */
  get<Key extends keyof Data & string>(key: Key): Frozen<Data[Key]> | undefined
  /**
   * Sets a value. Of two requests that set one key at once the later save wins where this request has not read the key; else it is a
   * conflict (409), for which there is {@link update}.
   *
   * @throws {SessionValueError} PRISM_ERR_SESSION_VALUE for what JSON does not keep
   */
  set<Key extends keyof Data & string>(key: Key, value: Data[Key]): void
  /** Sets what `change` makes of the value, and runs it again on a newer one when another request was faster: keep it free of effects. */
  update<Key extends keyof Data & string>(key: Key, change: (value: Data[Key] | undefined) => Data[Key] | undefined): Frozen<Data[Key]> | undefined
  /** Deletes a value, by the rules of {@link set}. */
  delete(key: keyof Data & string): void
  /** Saves now what would be saved with the reply: for replies that are hijacked or long. */
  save(): Promise<void>

  /**
   * Begins a session for a user, on a new id, and ends the one that was here.
   *
   * @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE: nobody is signed in
   */
  signIn(userId: string, options?: SignInOptions<Data>): Promise<void>
  /** Ends the session; done only when Redis has confirmed it. @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE */
  signOut(): Promise<void>
  /** Gives the session a new id: for a change of rights. The old one is dead. @throws {SessionGoneError} PRISM_ERR_SESSION_ENDED */
  rotate(): Promise<void>

  /** Where this user is signed in, the last seen first. */
  devices(): Promise<Device[]>
  /** Signs out one of this user's devices. @returns whether it was signed in */
  revoke(id: string): Promise<boolean>
  /** Signs out all of this user's devices but this one. @returns how many */
  revokeOthers(): Promise<number>
}
