import { isTraced } from './support/agents/dd-trace.ts' // before everything that it instruments
import { assertNeighbour } from './support/neighbour.ts'
import { traced } from './support/traced.ts'

await assertNeighbour({ packages: ['dd-trace'], order: 'before everything', ...traced(isTraced) })
