import t from 'tap'
import * as ws from 'ws'
import { EncodedEvents } from '../../../src/live/encoded-events.ts'
import { encodeFrame, readFrame } from '../../../src/live/frame.ts'

/** ws exports its Sender without a type. */
const { Sender } = ws as unknown as { Sender: { frame (data: Buffer, options: object): Buffer[] } }

t.test('frames are parsed, or rejected with a sentence', async (t) => {
  t.same(readFrame('{"type":"subscribe","topic":"events","since":"1-0"}'), { type: 'subscribe', topic: 'events', since: '1-0' })
  t.same(readFrame('{"type":"subscribe","topic":"events"}'), { type: 'subscribe', topic: 'events', since: undefined })
  t.same(readFrame('{"type":"unsubscribe","topic":"events"}'), { type: 'unsubscribe', topic: 'events' })
  t.same(readFrame('{"type":"ping","more":1}'), { type: 'ping' })
  for (const text of ['', 'x', '1', 'null', '[]', '{}', '{"type":"publish","topic":"events"}', '{"type":"subscribe"}', '{"type":"subscribe","topic":["events"]}', '{"type":"subscribe","topic":"events","since":"soon"}', '{"type":"subscribe","topic":"events","since":null}', '{"__proto__":{"type":"ping"}}']) t.match(readFrame(text), /^.+\.$/, text)
})

t.test('the frame of an event is encoded once for all subscribers of its topic', async (t) => {
  const frames = new EncodedEvents((topic, _event, text) => encodeFrame(topic, text))
  const [event, other] = [{}, {}]

  const encoded = frames.of('events', event, '{"type":"n"}')

  t.equal(String(encoded.payload), '{"type":"event","topic":"events","event":{"type":"n"}}')
  t.equal(frames.of('events', event, '{"type":"n"}'), encoded)
  t.not(frames.of('events', other, '{"type":"n"}'), encoded)
  t.equal(frames.of('events', event, '{"type":"n"}'), encoded)
})

t.test('the frame of an event is what ws sends for it, whatever its length', async (t) => {
  for (const length of [0, 50, 70, 71, 72, 73, 74, 75, 76, 77, 78, 79, 80, 200, 16_384]) {
    const text = `"${'ü'.repeat(length >> 1)}${'x'.repeat(length & 1)}"`
    const { frame, payload } = encodeFrame('events', text)
    const parts = Sender.frame(payload, { fin: true, opcode: 1, mask: false, readOnly: true, rsv1: false })
    t.same(frame, Buffer.concat(parts), `${payload.length} bytes`)
  }
})
