import { once } from 'node:events'
import t from 'tap'
import { EventSource } from 'eventsource'
import { resolveLivePolicy } from '../../src/live/options.ts'
import { readPositions, writePositions } from '../../src/live/event-stream-format.ts'
import { openLive, startLive } from '../support/live.ts'
import { publish } from '../support/publish.ts'
import { startRig } from '../support/proxied-redis.ts'
import { until } from '../support/until.ts'

t.setTimeout(300_000)

/** User IDs as identity providers issue them, and their topics. */
const topicsOf: Readonly<Record<string, string>> = {
  'auth0|5f7c8ec7': 'user:auth0|5f7c8ec7',
  'ada+news@example.com': 'user:ada+news@example.com',
  "o'neil/x=1;y~z@example.co.uk": "user:o'neil/x=1;y~z@example.co.uk",
  'adä lovelace*': `user:${encodeURIComponent('adä lovelace')}%2A`,
  '50%25': 'user:50%2525'
}

t.test('users with any ID receive the events of their own topic by WebSocket and event stream, resume, and are disconnected by a revocation', async (t) => {
  const { url } = await startRig(t)
  const live = await startLive(t, url)
  const other = await openLive(live, { headers: { cookie: await live.signIn('50%') } })

  for (const [user, topic] of Object.entries(topicsOf)) {
    const cookie = await live.signIn(user)
    const socket = await openLive(live, { headers: { cookie } })
    socket.say({ type: 'subscribe', topic })
    t.equal((await socket.next('subscribed')).topic, topic)
    other.say({ type: 'subscribe', topic })
    t.match(await other.next('error'), { code: 'PRISM_ERR_TOPIC_FORBIDDEN', topic }, `${topic} is closed to others`)

    const open = async (since: string) => {
      const source = new EventSource(`${live.url}/events?topic=events&topic=${encodeURIComponent(topic)}${since}`, { fetch: async (input, init) => await fetch(input, { ...init, headers: { ...init.headers, cookie } }) })
      t.after(() => source.close())
      const seen: { data: unknown, position: string }[] = []
      source.addEventListener('note', ({ data, lastEventId }) => { seen.push({ data: JSON.parse(data).data, position: lastEventId }) })
      await once(source as unknown as EventTarget, 'open')
      return { source, seen }
    }
    const first = await open('')
    await publish(live.app, topic, { type: 'note', data: 1 })
    t.match(await socket.next('event'), { topic, event: { data: 1 } })
    await until(() => first.seen.length === 1, { what: `the event of ${topic}` })
    first.source.close()
    await publish(live.app, topic, { type: 'note', data: 2 })
    const second = await open(`&since=${encodeURIComponent(first.seen[0]?.position ?? '')}`)
    await until(() => second.seen.length === 1, { what: `the missed event of ${topic}` })
    t.equal(second.seen[0]?.data, 2)

    const closed = once(socket.socket, 'close')
    await live.app.sessions.revokeAll(user)
    t.equal((await closed)[0], 4001, `${user} is disconnected`)
  }
})

t.test('no user ID has the topic of another one, in either form', async (t) => {
  const { mayFollow } = resolveLivePolicy()

  t.equal(mayFollow({ userId: 'a%7Cb' }, 'user:a%7Cb'), false, 'this is the encoded topic of a|b')
  t.equal(mayFollow({ userId: 'a%7Cb' }, 'user:a%257Cb'), true)
  t.equal(mayFollow({ userId: 'a|b' }, 'user:a%7Cb'), true)
  t.equal(mayFollow({ userId: 'a|b' }, 'user:a|b'), true)
  t.equal(mayFollow({ userId: undefined }, 'user:'), false)
})

t.test('positions of several topics are read as they are written, whatever separators the topics contain', async (t) => {
  const positions = new Map([['events', '1-0'], ['user:a=2-0;events', '3-0'], ['user:%3B', '4-0']])

  t.same(readPositions(writePositions(positions), [...positions.keys()]), positions)
})
