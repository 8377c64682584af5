import { connect } from 'node:net'
import type { Socket } from 'node:net'

/** What came back for some bytes. `status` is 0 where the connection ended without a response, -1 where it neither responded nor ended in time. */
export interface Exchange {
  status: number
  ms: number
}

const patienceMs = 30_000

/** One HTTP/1.1 connection that sends any bytes as they are, one request at a time; another connection is opened when it was closed. */
export class HttpClient {
  readonly #port: number
  #socket: Socket | undefined

  constructor (port: number) {
    this.#port = port
  }

  /** Sends one request and waits for its whole response; of an event stream for its head. */
  async exchange (request: Buffer | string, { isHead = false, isLast = false } = {}): Promise<Exchange> {
    const socket = this.#socket ??= this.#open()
    const startedAt = performance.now()
    const status = await new Promise<number>((resolve) => {
      let text = ''
      const closed = () => { end(statusOf(text)) }
      const read = (part: string) => {
        text += part
        const whole = isWhole(text, isHead)
        if (whole !== 'no') end(statusOf(text), whole === 'open' && !isLast)
      }
      const end = (status: number, isReusable = false) => {
        clearTimeout(timer)
        socket.off('data', read).off('close', closed)
        if (!isReusable) this.close()
        resolve(status)
      }
      const timer = setTimeout(() => { end(-1) }, patienceMs)
      socket.on('close', closed).on('data', read)
      socket.write(request)
      if (isLast) socket.end()
    })
    return { status, ms: performance.now() - startedAt }
  }

  close (): void {
    this.#socket?.destroy()
    this.#socket = undefined
  }

  #open (): Socket {
    const socket = connect(this.#port, '127.0.0.1').setEncoding('latin1').on('error', () => {}) // `close` follows
    // A server may close an idle connection: a request written to a closed socket has no response and no further `close`.
    return socket.once('end', () => { if (this.#socket === socket) this.#socket = undefined }).once('close', () => { if (this.#socket === socket) this.#socket = undefined })
  }
}

function statusOf (text: string): number {
  return Number(/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1] ?? 0)
}

/** Whether a response is complete, and its connection can be used again. */
function isWhole (text: string, isHead: boolean): 'no' | 'open' | 'closed' {
  const end = text.indexOf('\r\n\r\n')
  if (end < 0) return 'no'
  const head = text.slice(0, end)
  if (head.startsWith('HTTP/1.1 1')) return isWhole(text.slice(end + 4), isHead)
  if (/^content-type: text\/event-stream/im.test(head)) return 'closed'
  const state = /^connection: close/im.test(head) ? 'closed' : 'open'
  if (isHead || /^HTTP\/1\.1 (?:204|304)/.test(head)) return state
  if (/^transfer-encoding: chunked/im.test(head)) return text.endsWith('\r\n0\r\n\r\n') ? state : 'no'
  const length = Number(/^content-length: (\d+)/im.exec(head)?.[1] ?? NaN)
  return text.length - end - 4 >= length ? state : 'no'
}
