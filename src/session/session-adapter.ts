import { SessionAssignmentError } from '../shared/errors.ts'
import type { Session } from './session.ts'

type Data = Record<string, unknown>
type Callback = (error?: unknown) => void

/** A session whose values are properties too, with the methods that plugins for @fastify/session and @fastify/secure-session call. */
export type AdaptedSession = Session<Data> & SessionAdapter & Record<string, unknown>

/** Methods that {@link adaptSession} adds. Each takes a callback, too. */
export interface SessionAdapter {
  /** ends the session, signs the user out, and starts an anonymous session with the values of the keys in `keep` */
  regenerate (keep?: readonly string[] | Callback, callback?: Callback): Promise<void>
  /** {@link Session.signOut} */
  destroy (callback?: Callback): Promise<void>
  /** {@link Session.save} */
  save (callback?: Callback): Promise<void>
  /** does nothing: the load of a session extends its idle timeout */
  touch (): void
  /** a copy of all values */
  data (): Data
  /** @throws {SessionAssignmentError} PRISM_ERR_SESSION_ASSIGNMENT for attributes of the cookie, which the app's options set */
  options (options?: object): void
  /** {@link Session.set}; undefined deletes the key */
  set (key: string, value: unknown): void
}

/** Properties of other plugins' sessions that are not data: an assignment is rejected, a read is undefined. */
const foreignMembers = new Set(['cookie', 'sessionId', 'encryptedSessionId'])

const added: { [Name in keyof SessionAdapter]: (session: Session<Data>, ...given: Parameters<SessionAdapter[Name]>) => ReturnType<SessionAdapter[Name]> } = {
  regenerate: (session, keep, callback) => Array.isArray(keep) ? settle(regenerate(session, keep), callback) : settle(regenerate(session, []), (keep as Callback | undefined) ?? callback),
  destroy: (session, callback) => settle(session.signOut(), callback),
  save: (session, callback) => settle(session.save(), callback),
  touch: () => {},
  data: (session) => Object.fromEntries(session.keys().map((key) => [key, structuredClone(session.get(key))])),
  options: (_session, options = {}) => {
    // @fastify/csrf-protection passes `userInfo`, which is not an attribute of the cookie.
    for (const name of Object.keys(options)) if (name !== 'userInfo') throw new SessionAssignmentError(`session.options.${name}`, 'the cookie is set by session.cookie in the options of the stack')
  },
  set: setValue
}

/**
 * Adapts a session to plugins that assign properties: `request.session._csrf = secret` stores a value, reading it counts as `get`.
 */
export function adaptSession (session: Session<Data>): AdaptedSession {
  return new Proxy(session, { get, set, has, deleteProperty, ownKeys, getOwnPropertyDescriptor }) as AdaptedSession
}

function get (session: Session<Data>, name: string | symbol): unknown {
  if (isAdded(name)) return (...given: never[]) => Reflect.apply(added[name], undefined, [session, ...given]) as unknown
  if (!isData(session, name)) {
    const value = Reflect.get(session, name, session) as unknown
    return typeof value === 'function' ? value.bind(session) as unknown : value
  }
  return foreignMembers.has(name) ? undefined : session.get(name)
}

function set (session: Session<Data>, name: string | symbol, value: unknown): boolean {
  if (typeof name === 'symbol') return Reflect.set(session, name, value, session)
  if (isAdded(name) || !isData(session, name) || foreignMembers.has(name)) throw new SessionAssignmentError(`session.${name}`, 'it is not a value of the session; store values under other names')
  setValue(session, name, value)
  return true
}

function has (session: Session<Data>, name: string | symbol): boolean {
  return isAdded(name) || !isData(session, name) || session.get(name) !== undefined
}

function deleteProperty (session: Session<Data>, name: string | symbol): boolean {
  if (isData(session, name)) session.delete(name)
  return true
}

function ownKeys (session: Session<Data>): (string | symbol)[] {
  return [...session.keys(), ...Object.getOwnPropertySymbols(session)]
}

function getOwnPropertyDescriptor (session: Session<Data>, name: string | symbol): PropertyDescriptor | undefined {
  if (!isData(session, name)) return Reflect.getOwnPropertyDescriptor(session, name)
  const value = session.get(name)
  return value === undefined ? undefined : { value, writable: true, enumerable: true, configurable: true }
}

function isAdded (name: string | symbol): name is keyof SessionAdapter {
  return Object.hasOwn(added, name)
}

/** Whether a name is no member of the session: then it names a value. */
function isData (session: Session<Data>, name: string | symbol): name is string {
  return typeof name === 'string' && !(name in session)
}

function setValue (session: Session<Data>, key: string, value: unknown): void {
  if (value === undefined) session.delete(key)
  else session.set(key, value)
}

/** The old session ends before a new one is created: its token cannot be used again (session fixation). */
async function regenerate (session: Session<Data>, keep: readonly string[]): Promise<void> {
  const preserved = keep.map((key) => [key, session.get(key)] as const)
  await session.signOut()
  for (const [key, value] of preserved) if (value !== undefined) session.set(key, value)
}

/** Passes the outcome to a callback, if there is one, instead of rejecting. */
async function settle (work: Promise<void>, callback: Callback | undefined): Promise<void> {
  if (typeof callback !== 'function') return await work
  let failure: unknown
  await work.catch((error: unknown) => { failure = error })
  callback(failure)
}
