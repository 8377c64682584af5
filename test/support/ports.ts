import { once } from 'node:events'
import { createServer } from 'node:net'
import type { Server } from 'node:net'

const first = 10_240
const blocks = 340
const blockSize = 64

/** What is left of the blocks of this process. */
const own: number[] = []

/**
 * A port that nobody listens on just now, and that no other process draws as long as this one lives.
 *
 * A server that was killed comes back to its port, and nobody may have it meanwhile, nor between its drawing and
 * the server's start: so a process draws from blocks of its own. Whoever listens on the first port of a block has it.
 *
 * Below 32768, where Linux never takes a client's own port from: else a client that keeps trying a dead
 * port on loopback is sooner or later connected to itself, and a server cannot come back to its port.
 */
export async function freePort (): Promise<number> {
  for (;;) {
    const port = own.pop() ?? await takeBlock()
    if (port !== undefined && await isFree(port)) return port
  }
}

/** Takes a block, if nobody has it, for as long as this process lives. */
async function takeBlock (): Promise<undefined> {
  const start = first + Math.floor(Math.random() * blocks) * blockSize
  const server = await listen(start)
  server?.unref()
  if (server !== undefined) own.push(...Array.from({ length: blockSize - 1 }, (_, index) => start + 1 + index))
}

async function isFree (port: number): Promise<boolean> {
  const server = await listen(port)
  server?.close()
  return server !== undefined
}

async function listen (port: number): Promise<Server | undefined> {
  const server = createServer()
  try {
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
    return server
  } catch {
    return undefined // taken: the caller draws again
  }
}
