import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { SessionAssignmentError } from '../src/shared/errors.ts'
import { sessionIdentity } from '../src/shared/session-identity.ts'
import type { RequestWithIdentity } from '../src/shared/session-identity.ts'
import { adaptSession } from '../src/session/session-adapter.ts'
import type { AdaptedSession } from '../src/session/session-adapter.ts'
import type { Session } from '../src/session/session.ts'

const adaptedSession = Symbol('prism.adapted-session')
type AdaptedRequest = FastifyRequest & { [adaptedSession]?: AdaptedSession }

const property: PropertyDescriptor = {
  configurable: true,
  enumerable: false,
  get (this: AdaptedRequest) {
    return (this[adaptedSession] ??= adaptSession(sessionOf(this)))
  },
  set () { throw new SessionAssignmentError('request.session', 'it belongs to the stack; call session.set(key, value), signIn() or signOut()') }
}

/** The session of the stack, which the adapter hides as `request.session`. */
function sessionOf (request: FastifyRequest): Session<Record<string, unknown>> {
  return (request as RequestWithIdentity)[sessionIdentity] as unknown as Session<Record<string, unknown>>
}

/**
 * Makes the values of `request.session` properties, and adds `regenerate`, `destroy`, `touch`, `data` and `options`: for plugins that are made for
 * @fastify/session or @fastify/secure-session, such as @fastify/passport and @fastify/csrf-protection. Register it before them, in their scope.
 */
export default fp(async (fastify) => {
  fastify.decorateRequest(adaptedSession)
  fastify.addHook('onRequest', async (request) => { Object.defineProperty(request, 'session', property) })
}, { name: 'fastify-prism/session-adapter', fastify: '5.x', dependencies: ['fastify-prism/session'] })
