import { isTraced } from './support/agents/opentelemetry.ts' // before everything that it instruments
import { createRequire } from 'node:module'
import { assertNeighbour } from './support/neighbour.ts'
import { traced } from './support/traced.ts'

// It instruments what is required; `import` needs its loader hook.
const fastify = createRequire(import.meta.url)('fastify')

await assertNeighbour({ packages: ['@opentelemetry/instrumentation-fastify'], order: 'before everything', create: (options) => fastify(options), ...traced(isTraced) })
