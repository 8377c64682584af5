import type { Line } from './load.ts'
import type { Server } from './server.ts'

/** The requests to every server. */
export interface Workload {
  name: string
  connections: number
  /** delay of every Redis reply in milliseconds */
  redisDelayMs: number
  lines (server: Server): Line[] | Promise<Line[]>
}

const users = 10_000
const urls = 1000

/** The workloads, in the order of the table. */
export const workloads: Workload[] = [
  { name: 'hot', connections: 50, redisDelayMs: 0, lines: () => [{ path: '/items/1' }] },
  { name: 'many users', connections: 50, redisDelayMs: 0, lines: manyUsers },
  { name: 'misses', connections: 50, redisDelayMs: 0, lines: neverAsked },
  { name: 'refused', connections: 50, redisDelayMs: 0, lines: () => [{ path: '/limited', address: '10.9.9.9' }] },
  { name: '10 ms Redis', connections: 20, redisDelayMs: 10, lines: manyUsers }
]

let unique = 0
const cookies = new Map<string, string[]>()

/** URLs that no server was asked for before. */
function neverAsked (): Line[] {
  return Array.from({ length: 400_000 }, (_, index) => {
    unique += 1
    return { path: `/items/m${unique}-${index}`, address: addressOf(index % users) }
  })
}

/** 10,000 signed-in users at as many addresses request 1,000 URLs with Zipf's popularity: the n-th is requested 1/n as often as the first. */
async function manyUsers (server: Server): Promise<Line[]> {
  const signedIn = cookies.get(server.url) ?? await signInAll(server)
  cookies.set(server.url, signedIn)
  return Array.from({ length: 100_000 }, (_, index) => {
    const user = Math.floor(random(index * 2) * users)
    return { path: `/items/${zipf(random(index * 2 + 1))}`, address: addressOf(user), cookie: signedIn[user] ?? '' }
  })
}

async function signInAll (server: Server): Promise<string[]> {
  const signedIn = Array<string>(users)
  const next = Array.from({ length: users }, (_, user) => user).values()
  await Promise.all(Array.from({ length: 64 }, async () => {
    for (const user of next) signedIn[user] = await signIn(server, user)
  }))
  return signedIn
}

async function signIn (server: Server, user: number): Promise<string> {
  const response = await fetch(`${server.url}/sign-in`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-forwarded-for': addressOf(user) },
    body: JSON.stringify({ user: `user-${user}` })
  })
  if (!response.ok) throw new Error(`${server.name} refused a sign-in with ${response.status}: ${await response.text()}`)
  return response.headers.getSetCookie().map((cookie) => cookie.split(';')[0]).join('; ')
}

function addressOf (user: number): string {
  return `10.${user >> 16 & 255}.${user >> 8 & 255}.${user & 255}`
}

const harmonic = Array.from({ length: urls }, (_, index) => 1 / (index + 1)).reduce((sums: number[], share) => [...sums, (sums.at(-1) ?? 0) + share], [])

function zipf (share: number): number {
  const wanted = share * (harmonic.at(-1) ?? 1)
  return harmonic.findIndex((sum) => sum >= wanted) + 1
}

/** The same for every run and server: a hash of the index, from 0 to 1. */
function random (index: number): number {
  let hash = Math.imul(index + 1, 0x9E3779B1)
  hash = Math.imul(hash ^ hash >>> 15, 0x85EBCA6B)
  hash = Math.imul(hash ^ hash >>> 13, 0xC2B2AE35)
  return ((hash ^ hash >>> 16) >>> 0) / 2 ** 32
}
