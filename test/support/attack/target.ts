import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import type { Owner } from '../cleanup-scope.ts'
import { startService } from '../service.ts'
import type { Service } from '../service.ts'
import { until } from '../until.ts'

export const operatorToken = 'the-operator-token-of-the-attack'

/** The number of Redis connections can grow under load, and V8 opens some files late. */
const slack = 12

/** The service under attack, in its own process with a heap of 256 MB; restarted if an attack ended it. */
export class Target {
  crashes = 0
  /** responses by status; 0: closed without a response, -1: no response in time */
  readonly statuses = new Map<number, number>()
  readonly faults: string[] = []
  readonly note: (text: string) => void
  readonly #owner: Owner
  readonly #redisUrl: string
  #service: Service | undefined
  #hasEnded = false
  #descriptors = 0
  #reference = 0
  readonly #told = new Map<string | undefined, number>()

  constructor (owner: Owner, redisUrl: string, note: (text: string) => void) {
    this.#owner = owner
    this.#redisUrl = redisUrl
    this.note = note
  }

  get service (): Service {
    if (this.#service === undefined) throw new Error('The service is not started')
    return this.#service
  }

  get hasEnded (): boolean {
    return this.#hasEnded
  }

  get descriptorsBefore (): number {
    return this.#descriptors
  }

  /** Starts the service unless it runs, and counts its descriptors once it has served. */
  async ensure (): Promise<void> {
    if (this.#service !== undefined && !this.#hasEnded) return
    this.#hasEnded = false
    const service = this.#service = await startService(this.#owner, {
      REDIS_URL: this.#redisUrl, NODE_OPTIONS: '--max-old-space-size=256', TRUST_PROXY: '127.0.0.1/32', ADMIN_TOKEN: operatorToken
    })
    service.exit.then(() => { this.#hasEnded = true }, () => {})
    for (const path of ['/', '/cities/2988507', '/openapi.json', '/ops']) await fetch(`${service.url}${path}`, { headers: { connection: 'close' } }).then((response) => response.arrayBuffer())
    this.#descriptors = openDescriptors(service.pid)
    this.mark()
  }

  count (status: number, number = 1): void {
    this.statuses.set(status, (this.statuses.get(status) ?? 0) + number)
  }

  /** Records a violation: `attack: what`. The first five of an attack are printed. */
  fault (text: string): void {
    this.faults.push(text)
    const attack = text.split(':')[0]
    const told = (this.#told.get(attack) ?? 0) + 1
    this.#told.set(attack, told)
    if (told <= 5) this.note(`FAULT ${text}`)
    if (told === 5) this.note(`FAULT ${attack}: more of them are counted only`)
  }

  /** Number of violations by attack. */
  get faultsByAttack (): string {
    return [...this.#told].map(([attack, count]) => `${attack}: ${count}`).join('; ')
  }

  /** Starts an attack; connections that earlier attacks left open are not counted. */
  mark (): void {
    this.#reference = openDescriptors(this.service.pid)
  }

  /** Waits until the service has closed the connections of an attack and still responds, before the attack's own sockets are closed. */
  async settle (attack: string, deadlineMs = 20_000): Promise<void> {
    if (this.#hasEnded) return this.#crashed(attack)
    const { pid, url } = this.service
    await until(() => this.#hasEnded || openDescriptors(pid) <= this.#reference + slack, { what: '', deadlineMs, everyMs: 100 }).catch(() => {
      this.fault(`${attack}: ${openDescriptors(pid)} descriptors are open, ${this.#reference} before`)
    })
    if (this.#hasEnded) return this.#crashed(attack)
    this.note(`${attack}: descriptors ${this.#reference} before, ${openDescriptors(pid)} after; ${residentMegabytes(pid)} MB`)
    const status = await fetch(`${url}/healthz/live`, { signal: AbortSignal.timeout(20_000), headers: { connection: 'close' } }).then((response) => response.status, String)
    if (status !== 200) this.fault(`${attack}: /healthz/live responds with ${status}`)
  }

  /** Ends the service by SIGTERM, as a platform does. @returns its open descriptors */
  async stop (): Promise<number> {
    if (this.#hasEnded) return 0
    const open = openDescriptors(this.service.pid)
    if (open > this.#descriptors + slack) this.fault(`the end: ${open} descriptors are open, ${this.#descriptors} at the start`)
    const stopped = await this.service.stop()
    if (stopped.code !== 0) this.fault(`the end: SIGTERM ended the service with ${stopped.code ?? stopped.signal}`)
    return open
  }

  #crashed (attack: string): void {
    this.crashes += 1
    this.fault(`${attack}: the service ended: ${this.service.logs.filter((line) => !line.startsWith('{"level":"info"')).slice(-3).join(' | ').slice(0, 600)}`)
  }
}

/** Open descriptors of a process; 0 if the system does not report them. */
export function openDescriptors (pid: number): number {
  const folder = `/proc/${pid}/fd`
  return existsSync(folder) ? readdirSync(folder).length : 0
}

export function residentMegabytes (pid: number): number {
  const file = `/proc/${pid}/status`
  return existsSync(file) ? Math.round(Number(/VmRSS:\s+(\d+)/.exec(readFileSync(file, 'utf8'))?.[1] ?? 0) / 1024) : 0
}

/** CPU seconds of a process; 0 if the system does not report them. Linux counts in hundredths. */
export function cpuSeconds (pid: number): number {
  const file = `/proc/${pid}/stat`
  if (!existsSync(file)) return 0
  const fields = readFileSync(file, 'utf8').replace(/^.*\) /, '').split(' ')
  return (Number(fields[11]) + Number(fields[12])) / 100
}

/** The number of sockets that the other side does not close in time. */
export async function leftOpen (sockets: readonly Socket[], deadlineMs: number): Promise<number> {
  const deadline = AbortSignal.timeout(deadlineMs)
  const open = await Promise.all(sockets.map(async (socket) => {
    if (socket.closed) return false
    return await once(socket, 'close', { signal: deadline }).then(() => false, () => true)
  }))
  return open.filter(Boolean).length
}
