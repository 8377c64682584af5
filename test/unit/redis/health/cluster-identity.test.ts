import t from 'tap'
import { ClusterIdentity, isCompleted } from '../../../../src/redis/health/cluster-identity.ts'

const masters = (a?: string, b?: string, c?: string) => new Map([['a:1', a], ['b:1', b], ['c:1', c]])

t.test('a master that does not respond keeps its run_id, so that its silence changes nothing', async (t) => {
  const identity = new ClusterIdentity()
  const all = identity.join(masters('1', '2', '3'))

  t.equal(identity.join(masters('1', undefined, '3')), all)
  t.equal(identity.join(masters(undefined, undefined, '3')), all)
  t.equal(identity.join(masters('1', '2', '3')), all)
})

t.test('another process is another identity, also while a master does not respond', async (t) => {
  const identity = new ClusterIdentity()
  const all = identity.join(masters('1', '2', '3'))
  const changed = identity.join(masters('1', undefined, '4'))

  t.not(changed, all)
  t.equal(identity.join(masters('1', '2', '4')), changed, 'the silent master was unchanged')
  t.not(identity.join(masters('5', '2', '4')), changed)
})

t.test('a connection with an older slot map does not restore a replaced master', async (t) => {
  const identity = new ClusterIdentity()
  identity.join(masters('1', '2', '3'))
  const replaced = identity.join(new Map([['a:1', '1'], ['b:2', '9'], ['c:1', '3']]))

  t.equal(identity.join(masters('1', undefined, '3')), replaced)
})

t.test('the first replies of masters that were down from the start complete an identity; any other change does not', async (t) => {
  const from = (...replies: Parameters<typeof masters>[]) => {
    const identity = new ClusterIdentity()
    return replies.map((each) => identity.join(masters(...each))) as [string, string, string]
  }
  const [one, two, three] = from(['1'], ['1', '2'], ['1', '2', '3'])

  t.ok(isCompleted(one, two))
  t.ok(isCompleted(two, three))
  t.ok(isCompleted(one, three))
  t.notOk(isCompleted(three, two))
  t.notOk(isCompleted(three, from(['1', '2', '4'])[0]), 'another process')
  t.notOk(isCompleted(two, from(['1', '4', '3'])[0]), 'another process and a first reply')
  t.notOk(isCompleted(two, from(['1', '4'])[0]), 'another process, and no reply yet')
  t.equal(isCompleted(three, three), false)
})
