import { once } from 'node:events'
import { createServer } from 'node:net'

/** A server that was killed comes back to its port: nobody else in this process may have it meanwhile. */
const drawn = new Set<number>()

/**
 * A port that nobody listens on just now.
 *
 * Below 32768, where Linux never takes a client's own port from: else a client that keeps trying a dead
 * port on loopback is sooner or later connected to itself, and a server cannot come back to its port.
 */
export async function freePort (): Promise<number> {
  for (;;) {
    const port = 10_240 + Math.floor(Math.random() * 22_000)
    if (drawn.has(port) || !await isFree(port)) continue
    drawn.add(port)
    return port
  }
}

async function isFree (port: number): Promise<boolean> {
  const server = createServer()
  try {
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
    return true
  } catch {
    return false // taken: the caller draws again
  } finally {
    server.close()
  }
}
