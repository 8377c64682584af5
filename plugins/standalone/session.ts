import session from '../session.ts'
import type { SessionOptions } from '../session.ts'
import { withJourney } from './with-lifecycle.ts'

export type { RouteDefaults } from '../request-lifecycle.ts'
export type { Device, ConflictRule, MergeFunction, Revocation, Session, SessionOptions, Sessions, SessionState, SignInOptions } from '../session.ts'
export type { Duration } from '../../src/shared/option-readers.ts'

/** The visitor's session alone, without the rest of the stack: `request.session`, `fastify.sessions`. Needs `fastify-prism/redis`. */
export default withJourney<SessionOptions>(session, 'fastify-prism/session')
