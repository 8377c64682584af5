import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { endWithRefusal, isUpgrade, refusePipelinedUpgrades } from './upgrade.ts'

const endsRejectedUpgrades = Symbol('prism.rejected-upgrades')
type Routing = ((request: IncomingMessage, response: ServerResponse) => void) & { [endsRejectedUpgrades]?: true }

/**
 * Ends the socket when an upgrade is rejected. Plugins that upgrade pass the request to `routing` of the root instance, which plain requests
 * do not use. The response exists there before any hook runs, whatever was registered first.
 *
 * @param scope a Fastify instance; it inherits `routing` from the root instance
 */
export function endRejectedUpgrades (scope: { readonly server: Server, readonly routing: Routing }): void {
  const root = ownerOf(scope, 'routing') as { routing: Routing }
  const { routing } = root
  if (routing[endsRejectedUpgrades] === true) return
  refusePipelinedUpgrades(scope.server)
  root.routing = Object.assign<Routing, { [endsRejectedUpgrades]: true }>((request, response) => {
    if (!isUpgrade(request)) return routing(request, response)
    endWithRefusal(response)
    try {
      routing(request, response)
    } catch (error) {
      response.socket?.destroy()
      throw error
    }
  }, { [endsRejectedUpgrades]: true })
}

/** The object in the prototype chain that owns a property: scopes inherit from the root instance. */
function ownerOf (scope: object, name: string): object {
  return Object.hasOwn(scope, name) ? scope : ownerOf(Object.getPrototypeOf(scope) as object, name)
}
