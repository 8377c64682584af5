import { subscribe } from 'node:diagnostics_channel'

// Loaded into each server under test with --import: counts requests, and reports on `read`. Started requests that have not finished are in flight.
export interface ServerTotals { readonly started: number, readonly finished: number, readonly cpuMicroseconds: number }

let started = 0
let finished = 0
subscribe('http.server.request.start', () => { started += 1 })
subscribe('http.server.response.finish', () => { finished += 1 })

process.on('message', (word) => {
  if (word !== 'read') return
  const { user, system } = process.cpuUsage()
  process.send?.({ started, finished, cpuMicroseconds: user + system } satisfies ServerTotals)
})
