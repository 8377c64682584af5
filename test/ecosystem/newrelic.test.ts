import { isTraced } from './support/agents/newrelic.ts' // before everything that it instruments
import { assertNeighbour } from './support/neighbour.ts'
import { traced } from './support/traced.ts'

await assertNeighbour({ packages: ['newrelic'], order: 'before everything', ...traced(isTraced) })
