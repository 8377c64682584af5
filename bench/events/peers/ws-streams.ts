import { Redis } from 'ioredis'
import { broadcast, serveRooms } from './ws-server.ts'

// ws and one stream for each topic, read with XREAD by each process. A topic that is new is read from the next call on.
const publisher = new Redis(process.env.REDIS_URL ?? '')
const reader = new Redis(process.env.REDIS_URL ?? '')
const positions = new Map<string, string>()
const rooms = await serveRooms(join, (topic, event) => publisher.xadd(topic, 'MAXLEN', '~', 1000, '*', 'event', JSON.stringify(event)))
read()

async function join (topic: string): Promise<void> {
  if (positions.has(topic)) return
  const [last] = await publisher.xrevrange(topic, '+', '-', 'COUNT', 1)
  if (!positions.has(topic)) positions.set(topic, last?.[0] ?? '0-0')
}

async function read (): Promise<void> {
  for (;;) {
    const topics = [...positions.keys()]
    if (topics.length === 0) {
      await new Promise((resolve) => setTimeout(resolve, 20))
      continue
    }
    const streams = await reader.xreadBuffer('BLOCK', 250, 'STREAMS', ...topics, ...positions.values()) ?? []
    for (const [topic, entries] of streams as [Buffer, [Buffer, Buffer[]][]][]) {
      for (const [id, fields] of entries) {
        positions.set(topic.toString(), id.toString())
        if (fields[1] !== undefined) broadcast(rooms.get(topic.toString()), fields[1])
      }
    }
  }
}
