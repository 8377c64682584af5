import type { NewEvent } from '../../plugins/events.ts'

/** What the bench tells a server of events. */
export type EventCommand =
  | { readonly do: 'publish', readonly topics: number, readonly count: number, readonly perSecond: number, readonly bytes: number }
  | { readonly do: 'heap' }

/** The topic of a client: one for all, or one for each. */
export function topicOf (index: number, topics: number): string {
  return topics === 1 ? 'events' : `client:${index % topics}`
}

/**
 * Tells the bench the port, and follows its commands.
 *
 * @param publish to all processes of the app
 */
export function followCommands (port: number, publish: (topic: string, event: NewEvent) => unknown): void {
  process.on('message', async (command: EventCommand) => {
    if (command.do === 'publish') await publishEvenly(command, publish)
    process.send?.(command.do === 'heap' ? heapBytes() : 0)
  })
  process.on('disconnect', () => process.exit())
  process.send?.({ port })
}

/** Each event carries its time on the clock that all processes share. */
async function publishEvenly ({ topics, count, perSecond, bytes }: EventCommand & { do: 'publish' }, publish: (topic: string, event: NewEvent) => unknown): Promise<void> {
  const text = 'x'.repeat(bytes)
  const beganAt = performance.now()
  const confirmations: unknown[] = []
  for (let sent = 0; sent < count;) {
    const due = Math.min(count, Math.floor((performance.now() - beganAt) / 1000 * perSecond) + 1)
    for (; sent < due; sent++) confirmations.push(publish(topicOf(sent * 7, topics), { type: 'bench', data: { t: nowMs(), text } }))
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
  await Promise.all(confirmations)
}

function nowMs (): number {
  return Number(process.hrtime.bigint()) / 1e6
}

function heapBytes (): number {
  for (let run = 0; run < 4; run++) globalThis.gc?.()
  return process.memoryUsage().heapUsed
}
