import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Owner } from '../../test/support/cleanup-scope.ts'
import { startProxy } from '../../test/support/proxy.ts'
import { MeasuredRedis } from '../interleaved/redis-figures.ts'
import { startServer } from '../server.ts'
import type { Server } from '../server.ts'
import { signInAll } from './sign-in.ts'
import type { Workload } from './workloads.ts'

/** A server that can be measured. */
export interface ServerChoice {
  readonly name: string
  readonly file: URL
  readonly env: Record<string, string>
  readonly hasRedis: boolean
  /** the server that signs its users in, by its name; undefined: it has no sessions, and gets cookies of the stack */
  readonly signer: string | undefined
}

/** A running server, its Redis, and the address at which the server reaches it. */
export interface StartedServer { readonly choice: ServerChoice, readonly server: Server, readonly redis: MeasuredRedis | undefined, readonly redisUrl: string, cookies: readonly string[] }

export const mainServers = ['bare', 'conventional', 'prism']
/** A cached hit alone beside the smallest cache, for `npm run bench single`. */
export const singleServers = ['bare', 'get-hook', 'cache', 'conventional', 'prism']
/** Each part beside the lifecycle that it needs, then all of them without and with metrics. */
export const partServers = ['lifecycle', 'limit', 'session', 'cache', 'limit+session+cache', 'limit+session+cache+metrics']

const quota = '1000000'
const counting = new URL('../servers/counting.ts', import.meta.url).href
const fileOf = (name: string) => new URL(`../servers/${name}.ts`, import.meta.url)

const known: readonly ServerChoice[] = [
  { name: 'bare', file: fileOf('bare'), env: {}, hasRedis: false, signer: undefined },
  { name: 'get-hook', file: fileOf('get-hook'), env: {}, hasRedis: true, signer: undefined },
  { name: 'conventional', file: fileOf('conventional'), env: {}, hasRedis: true, signer: 'conventional' },
  { name: 'prism', file: fileOf('prism'), env: {}, hasRedis: true, signer: 'prism' },
  ...partServers.map((name): ServerChoice => ({ name, file: fileOf('parts'), env: { PARTS: name }, hasRedis: true, signer: name.includes('session') ? 'prism' : undefined }))
]

/** @throws Error for an unknown name, with those that are known */
export function choiceOf (name: string): ServerChoice {
  const found = known.find((choice) => choice.name === name)
  if (found === undefined) throw new Error(`no server "${name}"; known are ${known.map((choice) => choice.name).join(', ')}`)
  return found
}

/** A server of another file, as `name=file?VARIABLE=value&…`: its users are those of the stack. */
export function foreignChoice (text: string): ServerChoice {
  const [, name, file, variables] = /^([^=]+)=([^?]+)(?:\?(.*))?$/.exec(text) ?? []
  if (name === undefined || file === undefined) throw new Error(`--also takes name=file?VARIABLE=value, got "${text}"`)
  return { name, file: pathToFileURL(resolve(file)), env: Object.fromEntries(new URLSearchParams(variables)), hasRedis: true, signer: 'prism' }
}

/** Starts a server with a Redis server of its own, behind a proxy that delays replies if the workload says so. */
export async function startChoice (owner: Owner, choice: ServerChoice, { redisDelayMs }: Workload, flags: readonly string[]): Promise<StartedServer> {
  const redis = choice.hasRedis ? await MeasuredRedis.start(owner) : undefined
  const proxy = redis !== undefined && redisDelayMs > 0 ? await startProxy(owner, redis) : undefined
  const redisUrl = proxy?.url ?? redis?.url ?? ''
  const server = await startServer(choice.name, { REDIS_URL: redisUrl, QUOTA: quota, ...choice.env }, [...flags, '--import', counting], choice.file)
  owner.after(() => server.stop())
  await proxy?.fault('latency', { delayMs: redisDelayMs / 2 })
  return { choice, server, redis, redisUrl, cookies: [] }
}

/** Signs the users of all servers in. A server without sessions gets the cookies of one that has them, as every request has a cookie. */
export async function signUsersIn (started: readonly StartedServer[]): Promise<void> {
  for (const each of started) each.cookies = await cookiesOf(each)
  const spare = started.findLast(({ cookies }) => cookies.length > 0)?.cookies ?? []
  for (const each of started) if (each.cookies.length === 0) each.cookies = spare
}

async function cookiesOf ({ choice, server, redis }: StartedServer): Promise<readonly string[]> {
  if (choice.signer === undefined) return []
  if (choice.signer === choice.name) return await signInAll(server)
  const signer = await startServer(choice.signer, { REDIS_URL: redis?.url ?? '', QUOTA: quota })
  try {
    return await signInAll(signer)
  } finally {
    signer.stop()
  }
}
