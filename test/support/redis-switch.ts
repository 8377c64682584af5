import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import type { Socket } from 'node:net'
import type { Owner } from './cleanup-scope.ts'
import { freePort } from './ports.ts'

/** One address that forwards to a changeable server, like the address of a group whose master changes. */
export interface Switch {
  readonly url: string
  /** Closes every connection; new ones go to another port. */
  turn (port: number): void
}

/** Starts a switch; ended with its owner. */
export async function startSwitch (owner: Owner, firstPort: number): Promise<Switch> {
  let port = firstPort
  const sockets = new Set<Socket>()
  const cut = () => { for (const socket of sockets) socket.destroy() }
  const server = createServer((client) => {
    const upstream = connect(port, '127.0.0.1')
    for (const [from, to] of [[client, upstream], [upstream, client]] as const) {
      sockets.add(from)
      from.pipe(to)
      from.on('error', () => {}) // one closed side closes the other
      from.once('close', () => { sockets.delete(from); to.destroy() })
    }
  })
  const own = await freePort()
  server.listen(own, '127.0.0.1')
  await once(server, 'listening')
  owner.after(() => {
    cut()
    server.close()
  })
  return { url: `redis://127.0.0.1:${own}`, turn: (next) => { port = next; cut() } }
}
