import { once } from 'node:events'
import { get } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { WebSocket } from 'ws'

/** One of many clients, with little memory: number and order of its events, their delay, and its close. */
export interface Member {
  socket: WebSocket
  events: number
  /** the id of the last event */
  last: string | undefined
  /** an event arrived that does not name the previous one */
  isTorn: boolean
  closedAt: number | undefined
  code: number | undefined
}

/** Many WebSocket clients of a service, from many addresses. */
export class Crowd {
  readonly members: Member[] = []
  /** milliseconds from publishing to arrival, of a sample */
  readonly delaysMs: number[] = []
  readonly #port: number

  constructor (port: number) {
    this.#port = port
  }

  /** Connects clients, fifty per address, which subscribe to `events`. */
  async come (count: number): Promise<void> {
    for (let start = 0; start < count; start += 50) {
      await Promise.all(Array.from({ length: Math.min(50, count - start) }, () => this.#join(`127.0.1.${1 + start / 50}`)))
    }
  }

  async #join (localAddress: string): Promise<void> {
    const socket = new WebSocket(`ws://127.0.0.1:${this.#port}/live`, { localAddress, headers: { origin: `http://127.0.0.1:${this.#port}` }, perMessageDeflate: false })
    const member: Member = { socket, events: 0, last: undefined, isTorn: false, closedAt: undefined, code: undefined }
    this.members.push(member)
    socket.on('error', () => {}) // the close event reports it
    socket.on('close', (code) => { Object.assign(member, { closedAt: performance.now(), code }) })
    await once(socket, 'open')
    const subscribed = once(socket, 'message')
    socket.send('{"type":"subscribe","topic":"events"}')
    await subscribed
    socket.on('message', (data) => {
      const { id, prev, data: { at } } = JSON.parse(data.toString()).event
      if (member.last !== undefined && prev !== member.last) member.isTorn = true
      member.last = id
      if (member.events++ % 10 === 0) this.delaysMs.push(Date.now() - at)
    })
  }

  leave (): void {
    for (const { socket } of this.members) socket.terminate()
  }
}

/** Opens an event stream; resolves at its start. */
export async function openStreamFrom (port: number, localAddress: string): Promise<{ endedAt: number | undefined, text: string }> {
  const stream: { endedAt: number | undefined, text: string } = { endedAt: undefined, text: '' }
  const request = get({ host: '127.0.0.1', port, localAddress, path: '/events?topic=events', agent: false })
  const [response] = await once(request, 'response') as [IncomingMessage]
  response.on('data', (chunk) => { stream.text += chunk })
  response.on('close', () => { stream.endedAt = performance.now() })
  response.on('error', () => {}) // the close event reports it
  return stream
}

/** The greatest share of instants within one span. */
export function greatestShare (instants: readonly number[], spanMs: number): number {
  const sorted = instants.toSorted((one, other) => one - other)
  return Math.max(...sorted.map((from) => sorted.filter((each) => each >= from && each < from + spanMs).length)) / sorted.length
}

/** A quantile of many numbers. */
export function quantile (numbers: readonly number[], share: number): number {
  return numbers.toSorted((one, other) => one - other)[Math.min(numbers.length - 1, Math.floor(numbers.length * share))] ?? NaN
}
