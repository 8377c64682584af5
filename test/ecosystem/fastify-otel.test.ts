import { instrumentation, isTraced } from './support/agents/fastify-otel.ts' // before everything that it instruments
import { assertNeighbour } from './support/neighbour.ts'
import { traced } from './support/traced.ts'

await assertNeighbour({ packages: ['@fastify/otel'], before: (app) => app.register(instrumentation.plugin()), order: 'before the stack', ...traced(isTraced) })
