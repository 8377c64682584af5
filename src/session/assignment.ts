import { SessionAssignmentError } from '../shared/errors.ts'

/**
 * Makes assignments to a session throw: `session.cart = […]`, usual with other session plugins, would not be saved here, and
 * `session.userId = …` would not sign a user in. A setter is used because code in sloppy mode ignores frozen objects and missing setters.
 *
 * @param prototype the prototype of the session class
 */
export function rejectAssignments (prototype: object): void {
  for (const [name, { get, value }] of Object.entries(Object.getOwnPropertyDescriptors(prototype))) {
    const set = () => { throw new SessionAssignmentError(`session.${name}`, 'it is read-only; use signIn(), rotate() or signOut()') }
    Object.defineProperty(prototype, name, { get: get ?? (() => value as unknown), set, configurable: true })
  }
  // Reached only for names that are not members; reading them still returns undefined.
  Object.setPrototypeOf(prototype, new Proxy(Object.prototype, { set: rejectUnknown }))
}

function rejectUnknown (_prototype: object, name: string | symbol, value: unknown, session: object): boolean {
  // Tracing libraries store their state under symbols.
  if (typeof name === 'symbol') return Reflect.defineProperty(session, name, { value, writable: true, enumerable: false, configurable: true })
  throw new SessionAssignmentError(`session.${name}`, `an assigned property is not saved; call session.set('${name}', value), or register sessionAdapter of fastify-prism/session for a plugin that assigns it`)
}
