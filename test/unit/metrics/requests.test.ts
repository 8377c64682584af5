import t from 'tap'
import { cacheOutcomeOf } from '../../../src/metrics/requests.ts'

t.test('requests are counted by this process\'s member of Cache-Status', async (t) => {
  const outcomes = {
    'prism; hit; ttl=59': 'hit',
    'prism; hit; ttl=-3': 'stale',
    'prism; fwd=stale; fwd-status=503; ttl=-3': 'stale',
    'prism; fwd=stale; fwd-status=304; stored': 'miss',
    'prism; fwd=miss; stored': 'miss',
    'prism; fwd=bypass; detail=redis': 'bypass',
    'prism; fwd=method': 'bypass',
    'other; hit; ttl=-3, prism; fwd=miss': 'miss'
  }

  for (const [field, outcome] of Object.entries(outcomes)) t.equal(cacheOutcomeOf(field), outcome, field)
  t.equal(cacheOutcomeOf(undefined), 'none')
})
