import { once } from 'node:events'
import { connect } from 'node:net'
import type { Owner } from './cleanup-scope.ts'
import { until } from './until.ts'

/** A request whose body lacks its last byte: in progress until `finish`, which returns the response. */
export interface HeldRequest {
  finish: () => Promise<string>
}

/** Sends a request without the last byte of its body, and waits until the server has received its head. @param line method and path: `POST /users` */
export async function holdRequest (owner: Owner, { port }: { port: number }, line: string, body: string): Promise<HeldRequest> {
  const socket = connect(port, '127.0.0.1')
  owner.after(() => { socket.destroy() })
  await once(socket, 'connect')
  let text = ''
  socket.on('data', (chunk) => { text += String(chunk) })
  socket.on('error', () => {}) // a cut connection: `close` follows
  const closed = once(socket, 'close')
  socket.write(`${line} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body.slice(0, -1)}`)
  const goOn = 'HTTP/1.1 100 Continue\r\n\r\n'
  await until(() => text.startsWith(goOn), { what: 'the server has seen it' })
  text = ''
  return {
    finish: async () => {
      socket.write(body.slice(-1))
      await closed
      return text
    }
  }
}
