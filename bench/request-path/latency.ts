import { Redis } from 'ioredis'
import { median } from '../interleaved/statistics.ts'
import { makeLoad } from '../load.ts'
import type { Server } from '../server.ts'
import type { Workload } from './workloads.ts'

/** Response times; `roundTripMs` is that of Redis under the same load, 0 where it is not delayed. */
export interface Latency { readonly p50Ms: number, readonly p99Ms: number, readonly roundTripMs: number }

/** A server, the file of its requests, and where it reaches Redis. */
interface MeasuredServer { readonly server: Server, readonly redisUrl: string, readonly file: string }

const latencyRounds = 3

/** Response times need a load that is never suspended: rounds of one second for each server. */
export async function measureLatency (servers: readonly MeasuredServer[], { connections, redisDelayMs }: Workload, note: (text: string) => void): Promise<Latency[]> {
  const seen: Latency[][] = servers.map(() => [])
  for (let round = 0; round < latencyRounds; round++) {
    note(`latency ${round + 1} of ${latencyRounds}`)
    for (const [index, { server, redisUrl, file }] of [...servers.entries()].sort(() => Math.random() - 0.5)) {
      const [{ p50Ms, p99Ms }, roundTripMs] = await Promise.all([makeLoad({ url: server.url, file, lines: [], connections, seconds: 1 }), redisDelayMs > 0 && redisUrl !== '' ? roundTrip(redisUrl) : 0])
      seen[index]?.push({ p50Ms, p99Ms, roundTripMs })
    }
  }
  return seen.map((rounds) => ({ p50Ms: median(rounds.map((each) => each.p50Ms)), p99Ms: median(rounds.map((each) => each.p99Ms)), roundTripMs: median(rounds.map((each) => each.roundTripMs)) }))
}

/** Median round trip under this load, by the same client as the server's. */
async function roundTrip (url: string): Promise<number> {
  const redis = new Redis(url)
  const endsAt = performance.now() + 900
  const times: number[] = []
  while (performance.now() < endsAt) {
    const sentAt = performance.now()
    await redis.ping()
    times.push(performance.now() - sentAt)
  }
  redis.disconnect()
  return median(times)
}
