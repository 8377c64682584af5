import { ServerResponse, IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import t from 'tap'
import type { ConnectionDeps } from '../../../src/live/connection.ts'
import { StreamConnection } from '../../../src/live/event-stream.ts'
import { resolveLivePolicy } from '../../../src/live/options.ts'
import { ReplayBudget } from '../../../src/live/replay-budget.ts'

const minuteMs = 60_000

t.test('an event stream ends before 14 minutes, also with a longer heartbeat', async (t) => {
  for (const heartbeat of ['25s', '30m'] as const) {
    const policy = resolveLivePolicy({ heartbeat })
    const closed: unknown[] = []
    const deps: ConnectionDeps = { policy, replayBudget: new ReplayBudget(256), events: { publish: async () => '', attach: () => { throw new Error('no topic') } }, onFailure: t.error, onSocketError: t.error, onChange: () => {}, onClose: (connection) => closed.push(connection) }
    const connection = new StreamConnection(new ServerResponse(new IncomingMessage(new Socket())), { userId: undefined, device: undefined, address: 'a' }, deps)
    const start = performance.now()
    for (let now = start; !connection.isClosed && now < start + 20 * minuteMs; now += 1000) {
      if (connection.heartbeatAt <= now) {
        if (now < start + 12 * minuteMs) t.notOk(connection.isClosed)
        connection.heartbeat(now)
        if (connection.isClosed) t.ok(now > start + 12 * minuteMs && now < start + 14 * minuteMs, `${heartbeat}: after ${(now - start) / minuteMs} minutes`)
      }
    }
    t.same(closed, [connection])
  }
})
