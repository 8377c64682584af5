import { SessionAssignmentError } from '../shared/errors.ts'

/**
 * Lets an assignment to any member of a session throw: `session.cart = […]`, the habit of other session plugins, is saved by nothing here, and
 * `session.userId = …` signs no user in. Code in sloppy mode is told too, which ignores what a frozen object or a missing setter refuses.
 *
 * @param prototype of the sessions' class
 */
export function refuseAssignments (prototype: object): void {
  for (const [name, { get, value }] of Object.entries(Object.getOwnPropertyDescriptors(prototype))) {
    const set = () => { throw new SessionAssignmentError(`session.${name}`, 'it is read-only; signIn(), rotate() and signOut() change who a session is of') }
    Object.defineProperty(prototype, name, { get: get ?? (() => value as unknown), set, configurable: true })
  }
  // Reached by what is no member: reading that gives undefined, as ever.
  Object.setPrototypeOf(prototype, new Proxy(Object.prototype, { set: refuseUnknown }))
}

function refuseUnknown (_prototype: object, name: string | symbol, value: unknown, session: object): boolean {
  // Tracing libraries note their own there.
  if (typeof name === 'symbol') return Reflect.defineProperty(session, name, { value, writable: true, enumerable: false, configurable: true })
  throw new SessionAssignmentError(`session.${name}`, `an assigned property is not saved; call session.set('${name}', value)`)
}
