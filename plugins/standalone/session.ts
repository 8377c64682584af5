import session from '../session.ts'
import type { SessionOptions } from '../session.ts'
import { withLifecycle } from './with-lifecycle.ts'

export { default as sessionAdapter } from '../session-adapter.ts'
export type { AdaptedSession, SessionAdapter } from '../../src/session/session-adapter.ts'
export { isExactOrigin } from '../../src/http/origin.ts'
export type { RouteDefaults } from '../request-lifecycle.ts'
export type { Device, ConflictRule, MergeFunction, Revocation, Session, SessionOptions, Sessions, SessionState, SignInOptions } from '../session.ts'
export type { Duration } from '../../src/shared/option-readers.ts'

/** Sessions without the rest of the stack: `request.session`, `fastify.sessions`. Needs `fastify-prism/redis`. */
export default withLifecycle<SessionOptions>(session, 'fastify-prism/session')
