import { once } from 'node:events'
import { createServer } from 'node:net'

/**
 * A port that nobody listens on just now.
 *
 * Below 32768, where Linux never takes a client's own port from: else a client that keeps trying a dead
 * port on loopback is sooner or later connected to itself, and a server cannot come back to its port.
 */
export async function freePort (): Promise<number> {
  for (;;) {
    const port = 10_240 + Math.floor(Math.random() * 22_000)
    if (await isFree(port)) return port
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
