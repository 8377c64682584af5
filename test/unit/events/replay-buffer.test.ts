import t from 'tap'
import { readEntry } from '../../../src/events/event.ts'
import type { LoggedEnvelope } from '../../../src/events/event.ts'
import { ReplayBuffer } from '../../../src/events/replay-buffer.ts'

function event (n: number, bytes = 10): LoggedEnvelope {
  const entry = readEntry(`${n}-0`, `${n - 1}-0`, `"source":"x","type":"n","data":"${'x'.repeat(bytes)}"}`)
  if (entry === undefined) throw new Error('no event')
  return entry
}

const idsOf = (events: readonly LoggedEnvelope[] | undefined) => events?.map(({ id }) => id)

t.test('replay buffer returns all events after an ID, or undefined for an unknown ID', async (t) => {
  const replayBuffer = new ReplayBuffer({ length: 0 })
  for (let n = 5; n <= 8; n++) replayBuffer.add(event(n))

  t.same(idsOf(replayBuffer.after('4-0')), ['5-0', '6-0', '7-0', '8-0'])
  t.same(idsOf(replayBuffer.after('7-0')), ['8-0'])
  t.same(idsOf(replayBuffer.after('8-0')), [])
  t.same([replayBuffer.after('3-0'), replayBuffer.after('9-0')], [undefined, undefined])
})

t.test('replay buffer is bounded by events, by length, and by the length of all topics', async (t) => {
  const memory = { length: 0 }
  const many = new ReplayBuffer(memory)
  for (let n = 1; n <= 2000; n++) many.add(event(n))
  t.equal(many.after('1-0'), undefined)
  t.ok((many.after('1999-0') ?? []).length === 1 && memory.length < 512 * 200)

  const topics = Array.from({ length: 100 }, () => new ReplayBuffer(memory))
  for (let n = 1; n <= 100; n++) for (const topic of topics) topic.add(event(n, 15_000))
  t.ok(memory.length <= 33_554_432 + 20_000)
  for (const topic of [many, ...topics]) topic.clear()
  t.equal(memory.length, 0)
})
