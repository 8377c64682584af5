import type { Pace } from './direction.ts'
import type { Link } from './tcp-link.ts'

/** What a fault does at each stage of a link; stages that it does not name are normal. */
export interface NetworkFault {
  /** one sentence for tables */
  does: string
  /** false: the proxy's port refuses connections */
  listens?: boolean
  /** for each connection that is open when the fault begins */
  strike? (link: Link): void
  /** for each new connection; false: it is not forwarded to the server */
  accept? (link: Link): boolean
  /** for each chunk from the server */
  down? (link: Link, chunk: Buffer): void
  /** for each connection when the fault ends */
  mend? (link: Link): void
  /** speed of both directions */
  pace?: Pace
}

/** Options of the network faults that have some. */
export interface NetworkFaultOptions {
  latency: { delayMs: number, jitterMs?: number }
  throttle: { bytesPerSecond: number }
  halfOpen: { lost: 'server' | 'client' }
  garbage: { bytes: string }
  garbageThenSilence: { bytes: string }
  replyLostThenReset: { after: readonly string[], times?: number, lost?: () => void }
}

const minus = 0x2d
const NOISE = 'HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n'

/** All network faults by name, as functions of their options. A link that lost bytes stays silent after the fault. */
export const networkFaults = {
  blackHole: (): NetworkFault => ({
    does: 'accepts, swallows everything both ways, closes nothing',
    strike: (link) => link.mute(),
    accept: (link) => { link.mute(); return false }
  }),

  partition: (): NetworkFault => ({
    does: 'holds everything both ways; delivers it late, when mended',
    strike: (link) => link.hold(),
    accept: (link) => { link.hold(); return true },
    mend: (link) => link.release()
  }),

  halfOpen: ({ lost }: NetworkFaultOptions['halfOpen'] = { lost: 'server' }): NetworkFault => ({
    does: 'one side of each open connection is gone, the other is not told; new ones are well',
    strike: (link) => lost === 'server' ? link.loseServer() : link.loseClient()
  }),

  reset: (): NetworkFault => ({
    does: 'resets every connection, open or new',
    strike: (link) => link.reset(),
    accept: (link) => { link.reset(); return false }
  }),

  latency: (pace: NetworkFaultOptions['latency'] = { delayMs: 10 }): NetworkFault => ({
    does: 'delivers each chunk later, in order, side by side',
    mend: (link) => link.hurry(),
    pace
  }),

  throttle: (pace: NetworkFaultOptions['throttle'] = { bytesPerSecond: 10_000 }): NetworkFault => ({
    does: 'lets only so many bytes a second through',
    mend: (link) => link.hurry(),
    pace
  }),

  garbage: ({ bytes }: NetworkFaultOptions['garbage'] = { bytes: NOISE }): NetworkFault => ({
    does: 'replies with bytes that are no RESP, until the client closes',
    down: afterGreeting((link) => link.down.push(Buffer.from(bytes)))
  }),

  garbageThenSilence: ({ bytes }: NetworkFaultOptions['garbage'] = { bytes: NOISE }): NetworkFault => ({
    does: 'replies once with bytes that are no RESP, then never again, not even when the client closes',
    down: afterGreeting((link) => {
      link.down.push(Buffer.from(bytes))
      link.down.seal()
    })
  }),

  halfReply: (): NetworkFault => ({
    does: 'sends half a reply, then nothing',
    down: afterGreeting((link, chunk) => {
      link.down.push(half(chunk))
      link.down.seal()
    })
  }),

  halfReplyThenClose: (): NetworkFault => ({
    does: 'sends half a reply, then closes',
    down: afterGreeting((link, chunk) => {
      link.down.push(half(chunk))
      link.down.push(undefined)
      link.down.seal()
    })
  }),

  replyLost: (): NetworkFault => ({
    does: 'passes requests, drops every reply: the commands have run',
    down: afterGreeting((link) => link.down.mute())
  }),

  replyLostThenReset: ({ after, times = 1, lost = () => {} }: NetworkFaultOptions['replyLostThenReset']): NetworkFault => ({
    does: 'passes requests, drops the reply to one of these commands and resets the connection, so many times; then all is well',
    down: (link, chunk) => {
      // An error is the reply to a command that has not run.
      if (times <= 0 || chunk[0] === minus || !after.some((name) => link.withoutReply.has(name))) return link.down.push(chunk)
      times -= 1
      link.reset()
      lost()
    }
  }),

  stalledHandshake: (): NetworkFault => ({
    does: 'closes open connections; accepts new ones and never says a word',
    strike: (link) => link.close(),
    accept: (link) => { link.mute(); return false }
  }),

  down: (): NetworkFault => ({
    does: 'closes open connections, refuses new ones',
    listens: false,
    strike: (link) => link.close()
  })
}

/** The name of a network fault. */
export type NetworkFaultName = keyof typeof networkFaults

/** A reply to the client's handshake passes, so that the connection is valid. */
function afterGreeting (spoil: (link: Link, chunk: Buffer) => void): (link: Link, chunk: Buffer) => void {
  return (link, chunk) => link.isGreeted ? spoil(link, chunk) : link.down.push(chunk)
}

function half (chunk: Buffer): Buffer {
  return chunk.subarray(0, Math.floor(chunk.length / 2))
}
