import t from 'tap'
import { resolveLivePolicy } from '../../../src/live/options.ts'

t.test('topics without a rule and internal topics are forbidden', async (t) => {
  const { mayFollow } = resolveLivePolicy({ topics: { 'user:*': 'owner', 'room:*': 'signed-in', 'odd:*': (_client, topic) => topic.endsWith('1'), '*': 'anyone' } })
  const ann = { userId: 'ann' }
  const anonymous = { userId: undefined }

  t.same(['user:ann', 'user:bob', 'user:', 'room:1', 'odd:1', 'odd:2', 'else', '_live', '_sessions'].map((topic) => mayFollow(ann, topic)), [true, false, false, true, true, false, true, false, false])
  t.same(['user:ann', 'user:undefined', 'user:', 'room:1', 'else'].map((topic) => mayFollow(anonymous, topic)), [false, false, false, false, true])
  t.same(['events', 'user:ann', 'else'].map((topic) => resolveLivePolicy().mayFollow(ann, topic)), [true, true, false])
})

t.test('invalid options are rejected by name', async (t) => {
  const wrong: [options: object, option: string][] = [
    [{ path: '/live' }, 'live.path'],
    [{ paths: '/live' }, 'live.paths'],
    [{ paths: { socket: '/live' } }, 'live.paths.socket'],
    [{ paths: { websocket: 'live' } }, 'live.paths.websocket'],
    [{ paths: { stream: '/events/:topic' } }, 'live.paths.stream'],
    [{ paths: { client: '/live.js?v=1' } }, 'live.paths.client'],
    [{ topics: { events: 'all' } }, 'live.topics.events'],
    [{ topics: { events: 'owner' } }, 'live.topics.events'],
    [{ topics: { 'a*b': 'anyone' } }, 'live.topics.a*b'],
    [{ presence: ['a b'] }, 'live.presence'],
    [{ origins: ['https://*.example.com'] }, 'live.origins[0]'],
    [{ heartbeat: 25 }, 'live.heartbeat'],
    [{ drain: 'soon' }, 'live.drain'],
    [{ connectionsPerUser: 0 }, 'live.connectionsPerUser'],
    [{ connectionsPerAddress: Infinity }, 'live.connectionsPerAddress'],
    [{ replayedEventsPerSecond: '1k' }, 'live.replayedEventsPerSecond']
  ]
  for (const [options, option] of wrong) t.throws(() => resolveLivePolicy(options), { code: 'PRISM_ERR_OPTION', message: new RegExp(`^(?:Unknown o|O)ption ${option.replaceAll(/[.*[\]]/g, '.')}[ .]`) }, option)
})
