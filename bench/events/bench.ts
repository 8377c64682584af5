import type { ChildProcess } from 'node:child_process'
import { pathToFileURL } from 'node:url'
import type { Owner } from '../../test/support/cleanup-scope.ts'
import { withOwner } from '../owner.ts'
import { Peer, startClients } from './peer.ts'
import type { PeerDefinition, Publish, Slot } from './peer.ts'
import { ratios, tellRun } from './report.ts'
import type { Figures } from './report.ts'

/** Options of {@link benchEvents}. */
export interface EventsBenchOptions {
  /** runs, each with new processes; ratios are built within a run */
  readonly runs: number
  /** measured slots of each server */
  readonly slots: number
  /** names of servers; undefined: all */
  readonly servers: readonly string[] | undefined
  /** other programs beside them, `name=file`, with the stack's protocol: an earlier version for example */
  readonly also: readonly string[]
}

const warmUpSlots = 4
const clients = 500
/** Clients whose heap is not counted: what the first ones load and compile stays. */
const firstClients = 100
const settleMs = 6000
/** The interval of all heartbeats: each client is pinged once. */
const idleMs = 25_000

const peers: Readonly<Record<string, PeerDefinition>> = {
  'prism WebSocket': { file: './prism.ts', protocol: 'prism' },
  'ws + ioredis': { file: './peers/ws-pubsub.ts', protocol: 'ws' },
  'prism SSE': { file: './prism.ts', protocol: 'sse' },
  '@fastify/sse': { file: './peers/sse.ts', protocol: 'sse' },
  'socket.io Pub/Sub': { file: './peers/socket-io.ts', protocol: 'socket.io' },
  'socket.io streams': { file: './peers/socket-io.ts', protocol: 'socket.io', env: { ADAPTER: 'streams' } },
  'ws + XREAD': { file: './peers/ws-streams.ts', protocol: 'ws' }
}

/**
 * `npm run bench events`: the event bus and live connections beside what people use instead, 500 clients on two processes of each.
 *
 * All servers run at once, and one is measured at a time, in slots of 200 to 400 ms and in random order: a machine that slows down slows all of them.
 */
export async function benchEvents (options: EventsBenchOptions): Promise<void> {
  const figures: Figures[] = []
  for (let run = 1; run <= options.runs; run++) {
    const seen = { ...await withOwner((owner) => measureOneTopic(owner, options)), ...await withOwner((owner) => measureManyTopics(owner, options)) }
    figures.push(seen)
    console.log(`run ${run} of ${options.runs}\n${tellRun(seen)}\n`)
  }
  console.log(ratios(figures))
}

function chosenPeers ({ servers, also }: EventsBenchOptions): [name: string, peer: PeerDefinition][] {
  const chosen = Object.entries(peers).filter(([name]) => servers?.includes(name) ?? true)
  for (const text of also) {
    const [name = '', file = ''] = text.split('=')
    chosen.push([name, { file: pathToFileURL(file).href, protocol: name.endsWith('SSE') ? 'sse' : 'prism' }])
  }
  return chosen
}

/** One topic that all clients follow. */
async function measureOneTopic (owner: Owner, options: EventsBenchOptions): Promise<Figures> {
  const crowd = startClients(owner)
  const { all, heap } = await startAll(owner, options, crowd, 1)
  const figures: Figures = { 'heap a connection': heap }
  for (const bytes of [200, 2048]) {
    const samples = await runSlots(all, options.slots, { topics: 1, count: 10, perSecond: 50, bytes })
    figures[`CPU a delivery, ${bytes} B`] = medians(samples, ({ cpuMicroseconds }) => cpuMicroseconds)
  }
  return figures
}

/** A topic for each client. */
async function measureManyTopics (owner: Owner, options: EventsBenchOptions): Promise<Figures> {
  const crowd = startClients(owner)
  const { all, heap } = await startAll(owner, options, crowd, clients)
  const figures: Figures = { 'heap a connection with its topic': heap }
  for (const perSecond of [500, 2000]) {
    const samples = await runSlots(all, options.slots, { topics: clients, count: perSecond * 0.4, perSecond, bytes: 200 })
    figures[`p50, ${perSecond}/s`] = medians(samples, ({ p50Ms }) => p50Ms)
    figures[`p99, ${perSecond}/s`] = medians(samples, ({ p99Ms }) => p99Ms)
    figures[`Redis CPU an event, ${perSecond}/s`] = medians(samples, ({ redisMicroseconds }) => redisMicroseconds)
    figures[`CPU an event, ${perSecond}/s`] = medians(samples, ({ cpuMicroseconds }) => cpuMicroseconds)
  }
  figures['idle CPU a second'] = await measureIdle(all)
  return figures
}

/** Starts the peers and connects their clients, one peer after the other. */
async function startAll (owner: Owner, options: EventsBenchOptions, crowd: ChildProcess, topics: number): Promise<{ all: Peer[], heap: Record<string, number> }> {
  const all: Peer[] = []
  const heap: Record<string, number> = {}
  for (const [name, definition] of chosenPeers(options)) {
    process.stderr.write(`${topics} topics: connects to ${name}\n`)
    const peer = await Peer.start(owner, name, definition, crowd)
    all.push(peer)
    await peer.connect(topics, 0, firstClients)
    await peer.runSlot({ topics: Math.min(topics, firstClients), count: firstClients, perSecond: 1000, bytes: 200 }, firstClients)
    const before = await peer.heapBytes()
    await peer.connect(topics, firstClients, clients)
    heap[name] = (await peer.heapBytes() - before) / (clients - firstClients)
  }
  return { all, heap }
}

/** Slots of all peers in random order. */
async function runSlots (all: readonly Peer[], slots: number, publish: Publish): Promise<Map<string, Slot[]>> {
  process.stderr.write(`${publish.topics} topics: ${slots} slots of ${publish.perSecond} events/s of ${publish.bytes} B\n`)
  const samples = new Map<string, Slot[]>(all.map(({ name }) => [name, []]))
  for (let slot = -warmUpSlots; slot < slots; slot++) {
    for (const peer of all.toSorted(() => Math.random() - 0.5)) {
      const sample = await peer.runSlot(publish, clients)
      if (slot >= 0) samples.get(peer.name)?.push(sample)
    }
  }
  return samples
}

function medians (samples: Map<string, Slot[]>, figure: (slot: Slot) => number): Record<string, number> {
  return Object.fromEntries([...samples].map(([name, all]) => [name, all.map(figure).sort((one, other) => one - other)[all.length >> 1] ?? NaN]))
}

/** CPU of all servers in the same seconds without an event, in microseconds a second. */
async function measureIdle (all: readonly Peer[]): Promise<Record<string, number>> {
  process.stderr.write('idle\n')
  await new Promise((resolve) => setTimeout(resolve, settleMs))
  const before = all.map(({ cpuNs }) => cpuNs)
  await new Promise((resolve) => setTimeout(resolve, idleMs))
  return Object.fromEntries(all.map(({ name, cpuNs }, index) => [name, (cpuNs - (before[index] ?? NaN)) / idleMs]))
}
