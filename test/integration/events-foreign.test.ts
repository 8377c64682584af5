import { spawn, spawnSync } from 'node:child_process'
import { createInterface } from 'node:readline'
import t from 'tap'
import type { CloudEvent } from '../../plugins/events.ts'
import { startEventsApp } from '../support/events-app.ts'
import { startRedis } from '../support/redis.ts'
import { until } from '../support/until.ts'

/** A Python backend that knows only the channel. */
const backend = `
import json, redis, sys
client = redis.Redis(port=int(sys.argv[1]))
channel = client.pubsub()
channel.subscribe('prism:events')
for message in channel.listen():
    if message['type'] == 'subscribe':
        print(json.dumps({'received': 'subscribed'}), flush=True)
        client.publish('prism:events', json.dumps({'type': 'report.ready', 'id': '1-1', 'data': {'rows': [], 'total': 3}}))
    if message['type'] == 'message':
        event = json.loads(message['data'])
        print(json.dumps({'received': event['type'], 'id': event.get('id'), 'prev': event.get('prev'), 'data': event.get('data')}), flush=True)
`

const python = ['python3', '/usr/bin/python3'].find((program) => spawnSync(program, ['-c', 'import redis']).status === 0)
const noPython = python === undefined ? 'there is no Python with its redis package here (Debian: apt-get install python3-redis)' : false

t.test('a Python backend and the stack exchange events over a plain channel, in both directions', { skip: noPython }, async (t) => {
  const { url, port } = await startRedis(t)
  const app = await startEventsApp(t, url)
  const seen: CloudEvent[] = []
  await app.events.subscribe('events', (event) => seen.push(event)).ready
  await until(async () => (await app.redisPool.call('PUBSUB', 'NUMSUB', 'prism:events') as unknown[])[1] === 1, { what: 'the channel has a subscriber' })

  const child = spawn(python ?? '', ['-c', backend, String(port)], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.after(() => { child.kill() })
  const received: unknown[] = []
  createInterface(child.stdout).on('line', (line) => received.push(JSON.parse(line)))
  await until(() => seen.length === 1, { what: 'the event from Python' })
  const id = await app.events.publish('events', { type: 'city.noted', data: { city: 1, tags: [], text: 'ünï "quoted"' } })
  await until(() => received.length === 3, { what: 'our event in Python' })
  await until(() => seen.length === 2, { what: 'our event in the app' })

  t.match(seen[0], { specversion: '1.0', type: 'report.ready', source: 'redis', data: { rows: [], total: 3 } })
  t.notOk(seen[0]?.id, 'a plain message has no id, even if it contains one')
  t.same(received[2], { received: 'city.noted', id, prev: seen[1]?.prev, data: { city: 1, tags: [], text: 'ünï "quoted"' } })
})
