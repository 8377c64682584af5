import type { FastifyInstance, FastifyPluginAsync } from 'fastify'
import type { RouteDefaults } from '../plugins/index.ts'
import budget from './budget.ts'
import cities from './cities.ts'
import countries from './countries.ts'
import devices from './devices.ts'
import home from './home/home.ts'
import live from './live.ts'
import places from './places.ts'
import session from './session.ts'
import users from './users.ts'

interface Row {
  prefix: string
  module: FastifyPluginAsync
  defaults?: RouteDefaults
}

const table: Row[] = [
  { prefix: '', module: home },
  { prefix: '/budget', module: budget },
  { prefix: '/cities', module: cities, defaults: { cache: { ttl: '5m', tags: ['cities'] } } },
  { prefix: '/cities', module: live },
  { prefix: '/countries', module: countries, defaults: { cache: { ttl: '60m', staleWhileRevalidate: '60m', tags: ['cities'] } } },
  { prefix: '/users', module: users },
  { prefix: '/session', module: session },
  { prefix: '/session/devices', module: devices, defaults: { session: 'required' } },
  { prefix: '/me/places', module: places, defaults: { session: 'required' } }
]

/** Mounts the route modules with the defaults that their routes inherit. A route overrides them in its own `config`. */
export default async function routes (app: FastifyInstance): Promise<void> {
  for (const { prefix, module, defaults } of table) {
    await app.register(async (scope) => {
      if (defaults) scope.routeDefaults(defaults)
      await scope.register(module)
    }, { prefix })
  }
}
