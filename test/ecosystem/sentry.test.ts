import { isTraced, Sentry } from './support/agents/sentry.ts' // before everything that it instruments
import { assertNeighbour } from './support/neighbour.ts'
import { traced } from './support/traced.ts'

const { after, features } = traced(isTraced)
await assertNeighbour({
  packages: ['@sentry/node'],
  order: 'before everything; its error handler after the stack',
  after: (app) => {
    Sentry.setupFastifyErrorHandler(app)
    after(app)
  },
  features
})
