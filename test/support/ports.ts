import { once } from 'node:events'
import { createServer } from 'node:net'
import type { Server } from 'node:net'

const first = 10_240
const blocks = 340
const blockSize = 64

/** The unused ports of this process's blocks. */
const own: number[] = []

/**
 * A port on which nothing listens, and which no other process draws while this one lives.
 *
 * A killed server restarts on its port, and no other program may take it meanwhile, nor between its drawing and
 * the server's start: a process draws from its own blocks. The process that listens on the first port of a block owns it.
 *
 * Below 32768, where Linux never takes ephemeral ports from: otherwise a client that keeps connecting to a dead
 * port on loopback eventually connects to itself, and the server cannot restart on its port.
 */
export async function freePort (): Promise<number> {
  for (;;) {
    const port = own.pop() ?? await takeBlock()
    if (port !== undefined && await isFree(port)) return port
  }
}

/** Takes a free block for the lifetime of this process. */
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
