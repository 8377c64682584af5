import { Socket } from 'node:net'
import type { Batch } from '../../src/redis/batch/batch.ts'
import { CommandReader } from './command-reader.ts'
import type { Owner } from './cleanup-scope.ts'

type WriteOne = (chunk: Buffer | string, encoding: BufferEncoding, done: (error?: Error | null) => void) => void
type WriteMany = (chunks: Array<{ chunk: Buffer | string, encoding: BufferEncoding }>, done: (error?: Error | null) => void) => void
interface Writable { _write: WriteOne, _writev: WriteMany }

/** What this process wrote to these ports. */
export interface Writes {
  /** writes on sockets, each one a system call */
  readonly writes: number
  readonly bytes: number
  /** commands by name in capitals */
  readonly commands: ReadonlyMap<string, number>
  /** all commands together */
  readonly commandCount: number
  /** Resets all counts. */
  clear (): void
}

/**
 * Counts, without a proxy, what this process writes to a server, on existing and future sockets.
 *
 * @param ports the server's port, or those of all nodes of a cluster
 */
export function countWrites (owner: Owner, ...ports: number[]): Writes {
  const counter = new WriteCounter(ports)
  counters.add(counter)
  if (counters.size === 1) listenIn()
  owner.after(() => {
    counters.delete(counter)
    if (counters.size === 0) stopListening()
  })
  return counter
}

/**
 * Waits until earlier requests and jobs have no command left to send, then resets all counts.
 *
 * A response is sent before its fill, and a fill's lock may be extended in the turn in which it is released. A script that Redis does not have is sent a second
 * time. So two commands in a row must have been sent alone.
 */
export async function atRest (written: Writes, batch: Batch): Promise<void> {
  for (let alone = 0; alone < 2;) {
    written.clear()
    await batch.command('PING', [], 'background')
    alone = written.commandCount === 1 ? alone + 1 : 0
  }
  written.clear()
}

class WriteCounter implements Writes {
  writes = 0
  bytes = 0
  readonly commands = new Map<string, number>()
  readonly #ports: ReadonlySet<number>
  readonly #readers = new WeakMap<Socket, CommandReader>()

  constructor (ports: number[]) {
    this.#ports = new Set(ports)
  }

  get commandCount (): number {
    return [...this.commands.values()].reduce((sum, count) => sum + count, 0)
  }

  clear (): void {
    this.writes = this.bytes = 0
    this.commands.clear()
  }

  count (socket: Socket, chunks: Buffer[]): void {
    if (!socket.remotePort || !this.#ports.has(socket.remotePort)) return
    this.writes++
    for (const chunk of chunks) {
      this.bytes += chunk.length
      this.#readerOf(socket).push(chunk)
    }
  }

  #readerOf (socket: Socket): CommandReader {
    const reader = this.#readers.get(socket) ?? new CommandReader(this.commands)
    this.#readers.set(socket, reader)
    return reader
  }
}

const counters = new Set<WriteCounter>()
// Node declares neither method on net.Socket, where both have existed since streams were introduced.
const sockets = Socket.prototype as unknown as Writable
const { _write: writeOne, _writev: writeMany } = sockets

function listenIn (): void {
  sockets._write = function (this: Socket, chunk, encoding, done) {
    for (const counter of counters) counter.count(this, [toBuffer(chunk, encoding)])
    writeOne.call(this, chunk, encoding, done)
  }
  sockets._writev = function (this: Socket, chunks, done) {
    const buffers = chunks.map(({ chunk, encoding }) => toBuffer(chunk, encoding))
    for (const counter of counters) counter.count(this, buffers)
    writeMany.call(this, chunks, done)
  }
}

function stopListening (): void {
  sockets._write = writeOne
  sockets._writev = writeMany
}

function toBuffer (chunk: Buffer | string, encoding: BufferEncoding): Buffer {
  return typeof chunk === 'string' ? Buffer.from(chunk, encoding) : chunk
}
