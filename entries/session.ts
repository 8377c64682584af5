import session from '../plugins/session.ts'
import type { SessionOptions } from '../plugins/session.ts'
import { withJourney } from './with-journey.ts'

export type { RouteDefaults } from '../plugins/journey.ts'
export type { Device, KeyRule, Revocation, Session, SessionOptions, Sessions, SessionState, SignInOptions } from '../plugins/session.ts'
export type { Duration } from '../src/options.ts'

/** The visitor's session alone, without the rest of the stack: `request.session`, `fastify.sessions`. Needs `fastify-prism/redis`. */
export default withJourney<SessionOptions>(session, 'fastify-prism/session')
