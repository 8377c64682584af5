import t from 'tap'
import { EventFrames, readFrame } from '../../../src/live/frame.ts'

t.test('frames are parsed, or rejected with a sentence', async (t) => {
  t.same(readFrame('{"type":"subscribe","topic":"events","since":"1-0"}'), { type: 'subscribe', topic: 'events', since: '1-0' })
  t.same(readFrame('{"type":"subscribe","topic":"events"}'), { type: 'subscribe', topic: 'events', since: undefined })
  t.same(readFrame('{"type":"unsubscribe","topic":"events"}'), { type: 'unsubscribe', topic: 'events' })
  t.same(readFrame('{"type":"ping","more":1}'), { type: 'ping' })
  for (const text of ['', 'x', '1', 'null', '[]', '{}', '{"type":"publish","topic":"events"}', '{"type":"subscribe"}', '{"type":"subscribe","topic":["events"]}', '{"type":"subscribe","topic":"events","since":"soon"}', '{"type":"subscribe","topic":"events","since":null}', '{"__proto__":{"type":"ping"}}']) t.match(readFrame(text), /^.+\.$/, text)
})

t.test('the frame of an event is encoded once for all subscribers of its topic', async (t) => {
  const frames = new EventFrames()
  const event = {}

  const frame = frames.of('events', event, '{"type":"n"}')

  t.equal(String(frame), '{"type":"event","topic":"events","event":{"type":"n"}}')
  t.equal(frames.of('events', event, '{"type":"n"}'), frame)
})
