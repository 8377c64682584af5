import { fork } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import type { AddressInfo } from 'node:net'
import { cachingApp } from '../test/support/caching.ts'
import { withOwner } from './owner.ts'

// What input tracking adds to a miss: CPU of the main thread per request. Each request has a URL of its own, and the routes take turns in random order.
// node bench/input-tracking.ts [turns] [requests in a turn]

interface Job { port: number, path: string, requests: number }
const connections = 32
const [turns, requests] = [Number(process.argv[2] ?? 40), Number(process.argv[3] ?? 1000)]

let sent = 0
/** Sends requests over sockets that are kept, each after the response to the one before. */
async function load ({ port, path, requests: count }: Job): Promise<void> {
  let left = count
  await Promise.all(Array.from({ length: connections }, async () => {
    const socket = connect(port, '127.0.0.1')
    const sendNext = () => {
      if (left-- <= 0) return socket.end()
      socket.write(`GET ${path}${path === '/hit' ? '' : `/${process.pid}-${sent++}`} HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\nUser-Agent: bench\r\n\r\n`)
    }
    socket.on('data', (data) => { if (data.includes('\r\n\r\n')) sendNext() })
    await once(socket, 'connect')
    sendNext()
    await once(socket, 'close')
  }))
}

async function measure (): Promise<void> {
  await withOwner(async (owner) => {
    const app = await cachingApp(owner)
    const handler = async () => ({ any: true })
    app.get('/bare/:id', handler)
    app.get('/untracked/:id', { config: { cache: { ttl: '1m', trackInputs: false } } }, handler)
    app.get('/tracked/:id', { config: { cache: { ttl: '1m' } } }, handler)
    app.get('/hit', { config: { cache: { ttl: '1m' } } }, handler)
    await app.listen({ port: 0, host: '127.0.0.1' })
    const { port } = app.server.address() as AddressInfo
    const child = fork(import.meta.filename, ['load'])
    owner.after(() => { child.kill() })
    const paths = ['/bare', '/untracked', '/tracked', '/hit']
    const figures = new Map<string, number[]>(paths.map((path) => [path, []]))
    for (let turn = -3; turn < turns; turn++) {
      for (const path of paths.toSorted(() => Math.random() - 0.5)) {
        const before = process.threadCpuUsage()
        child.send({ port, path, requests } satisfies Job)
        await once(child, 'message')
        const { user, system } = process.threadCpuUsage(before)
        if (turn >= 0) figures.get(path)?.push((user + system) / requests)
      }
    }
    for (const [path, each] of figures) {
      const sorted = each.toSorted((a, b) => a - b)
      console.log(`${path.padEnd(12)}${[0.1, 0.25, 0.5].map((share) => sorted[Math.floor(sorted.length * share)]?.toFixed(1).padStart(7)).join('')} µs (p10, p25, median)`)
    }
  })
}

if (process.argv[2] === 'load') process.on('message', (job: Job) => { load(job).then(() => process.send?.('done'), (error: unknown) => { throw error }) })
else await measure()
