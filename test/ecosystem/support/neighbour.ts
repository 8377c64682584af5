import fp from 'fastify-plugin'
import type { FastifyPluginAsync } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { until } from '../../support/until.ts'
import { digestOf, startApp, streamed } from './app.ts'
import type { AppParts, EcosystemApp } from './app.ts'
import { Client } from './client.ts'
import type { ClientResponse } from './client.ts'
import { writeRow } from './row.ts'
import type { Exception } from './row.ts'

/** What is asserted for every neighbour, and how the table calls it. */
const aspects = {
  hit: 'a second request is a hit',
  users: 'two users never share',
  refusals: 'refusals carry its fields',
  sessions: 'sessions load and save',
  limits: 'limits count once',
  bodies: 'streams and uploads pass',
  silence: 'no warning at start',
  close: 'close does not hang'
} as const
type Aspect = keyof typeof aspects

/** A package, or a small group, that runs beside the stack. */
export interface Neighbour extends AppParts {
  /** its packages; the first names the row */
  packages: readonly string[]
  /** further words for the table's column *order*; by default where `before` and `after` register it */
  order?: string
  /** fields of every request */
  headers?: Record<string, string>
  /** what it adds to each response, refusals (401, 429, 503) included: what is missing, or undefined */
  missing?: (response: ClientResponse) => string | undefined
  /** aspects that do not work: why, and by which warning at start it is told */
  without?: Partial<Record<Aspect, { why: string, told?: RegExp }>>
  /** further behaviour, by title; each has the app to itself */
  features?: Record<string, (context: Context) => Promise<void>>
  /** further behaviour that does not work, by title: why, and how the start tells it */
  exceptions?: Exception[]
}

/** What a feature is tested with. */
export interface Context extends EcosystemApp { t: Test, client: Client }

/**
 * Starts an app with the neighbour and the stack, asserts all aspects over a socket, and writes the neighbour's row of
 * docs/compatibility.md. An aspect that is listed in `without` is asserted not to work: a row that is out of date fails.
 */
export async function assertNeighbour (neighbour: Neighbour): Promise<void> {
  const works: string[] = []
  const fails: Exception[] = [...neighbour.exceptions ?? []]
  const [name = ''] = neighbour.packages
  await t.test(name, async (t) => {
    const running = await startApp(t, neighbour)
    for (const aspect of aspectsOf(neighbour)) {
      const exception = neighbour.without?.[aspect]
      await t.test(`${aspects[aspect]}${exception ? ': no' : ''}`, async (t) => {
        const context = { ...running, t, client: new Client(running, neighbour.headers) }
        if (exception) await assertException(context, aspect, exception)
        else await checks[aspect](context, neighbour)
      })
      if (exception) fails.push({ what: aspects[aspect], ...exception, told: toldBy(exception.told) })
      else if (aspect !== 'silence' && aspect !== 'close' && (aspect !== 'refusals' || neighbour.missing)) works.push(aspects[aspect])
    }
  })
  for (const [title, check] of Object.entries(neighbour.features ?? {})) {
    await t.test(`${name}: ${title}`, async (t) => {
      const running = await startApp(t, neighbour)
      await check({ ...running, t, client: new Client(running, neighbour.headers) })
    })
    works.push(title)
  }
  writeRow({ packages: neighbour.packages, order: neighbour.order ?? orderOf(neighbour), works, fails })
}

function aspectsOf ({ routes }: Neighbour): Aspect[] {
  return (Object.keys(aspects) as Aspect[]).filter((aspect) => routes !== false || aspect === 'silence' || aspect === 'close')
}

function orderOf ({ before, after }: Neighbour): string {
  return before ? 'before the stack' : after ? 'after the stack' : 'beside the stack'
}

function toldBy (told: RegExp | undefined): string {
  return told ? told.source : ''
}

/** An aspect that does not work is asserted to fail, and to be told at start. */
async function assertException (context: Context, aspect: Aspect, { told }: { told?: RegExp }): Promise<void> {
  const { t, warnings } = context
  const faults: string[] = []
  const record = (isFine: boolean, what: unknown) => { if (!isFine) faults.push(String(what)) }
  const silent = {
    equal: (seen: unknown, wanted: unknown, what: unknown = '') => record(seen === wanted, what),
    same: (seen: unknown, wanted: unknown, what: unknown = '') => record(JSON.stringify(seen) === JSON.stringify(wanted), what),
    ok: (seen: unknown, what: unknown = '') => record(Boolean(seen), what)
  } as unknown as Test
  await checks[aspect]({ ...context, t: silent }, { packages: [] }).catch((error: Error) => faults.push(error.message))
  t.ok(faults.length > 0, `it works by now: take "${aspects[aspect]}" out of \`without\``)
  if (told) t.ok(warnings.some((text) => told.test(text)), 'the log tells it at start')
}

const checks: Record<Aspect, (context: Context, neighbour: Neighbour) => Promise<void>> = {
  hit: async ({ t, client }) => {
    const first = await client.get('/page/hit')
    const second = await client.hit('/page/hit')
    t.same([first.status, second.status, second.body], [200, 200, first.body], 'both are the first run\'s response')
  },

  users: async ({ t, url }) => {
    const [ada, bob] = await Promise.all(['ada', 'bob'].map((user) => signedIn(url, user)))
    if (!ada || !bob) throw new Error('unreachable')
    t.equal((await ada.get('/mine')).body.user, 'ada')
    t.equal((await ada.hit('/mine')).body.user, 'ada')
    t.equal((await bob.get('/mine')).body.user, 'bob', 'a partitioned response stays its user\'s')
    for (const [client, user] of [[ada, 'ada'], [ada, 'ada'], [bob, 'bob'], [new Client({ url }), 'guest']] as const) t.equal((await client.get('/greeting')).body.user, user, 'a response that depends on the session is not shared')
  },

  refusals: async ({ t, app, url, client, open }, { missing = () => undefined, headers }) => {
    const first = client.get('/slow/first')
    await until(() => app.cache.counts.miss > 0, { what: 'the first handler runs' })
    const busy = await until(async () => {
      const response = await client.get('/slow/second', { signal: AbortSignal.timeout(2_000) })
      return response.status === 503 && response
    }, { what: '503 beyond maxConcurrency' }).finally(open)
    const limited = await until(async () => {
      const response = await new Client({ url }, headers).get('/few')
      return response.status === 429 && response
    }, { what: '429 beyond the quota' })
    const anonymous = await client.get('/members')
    t.same([anonymous.status, (await first).status], [401, 200])
    for (const response of [await client.get('/page/fields'), anonymous, limited, busy]) t.equal(missing(response), undefined, `${response.status} has what the neighbour adds`)
    t.equal(missing(await client.hit('/page/fields')), undefined, 'so does a hit')
  },

  sessions: async ({ t, client }) => {
    await client.put('/note/kept')
    t.same((await client.get('/note')).body, { note: 'kept' })
  },

  limits: async ({ t, client }) => {
    const first = remainingOf(await client.get('/counted'))
    t.equal(remainingOf(await client.get('/counted')), first - 1, 'each request costs one unit')
  },

  bodies: async ({ t, client }) => {
    const payload = Buffer.alloc(300_000, 'upload')
    t.equal((await client.get('/stream')).text, streamed, 'a stream')
    t.equal((await client.get('/cached-stream')).text, streamed, 'a stream that is stored')
    t.equal((await client.get('/cached-stream')).text, streamed, 'a stored stream')
    const { body } = await client.post('/upload', { body: payload, headers: { 'content-type': 'application/octet-stream' } })
    t.equal(body?.digest, digestOf(payload), 'an upload')
  },

  silence: async ({ t, warnings }) => {
    t.same(warnings, [])
  },

  close: async ({ t, app, client }) => {
    await client.get('/note')
    await closed(app)
    t.ok(true, 'the app is closed')
  }
}

function remainingOf ({ headers }: ClientResponse): number {
  return Number(/"route";r=(\d+)/.exec(headers.get('ratelimit') ?? '')?.[1])
}

/** Closes an app; rejects where that takes more than 5 s. */
export async function closed (app: { close: () => PromiseLike<unknown> }): Promise<void> {
  let isClosed = false
  const closing = app.close().then(() => { isClosed = true })
  await until(() => isClosed, { what: 'the app is closed', deadlineMs: 5_000 })
  await closing
}

/** A neighbour that the stack refuses: asserts the error of the start, and writes its row. */
export async function assertRefusal ({ packages, order, why, before, after, told }: Pick<Neighbour, 'packages' | 'order' | 'before' | 'after'> & { why: string, told: RegExp }): Promise<void> {
  const [name = ''] = packages
  const words = order ?? orderOf({ packages, before, after })
  await t.test(`${name} ${words} is refused at start`, async (t) => {
    const error = await startApp(t, { before, after }).then(() => undefined, (error: Error) => error)
    t.match(error?.message, told)
  })
  writeRow({ packages, order: words, works: [], fails: [{ what: 'the start is refused', why, told: told.source }] })
}

/** A plugin with a callback that throws where its decorator exists: nothing catches that, so the start ends. To be seen by a test, it is passed on. */
export function caught (plugin: (app: any, options: object, done: (error?: Error) => void) => void, options: object = {}): FastifyPluginAsync {
  return fp(async (app) => {
    await new Promise<void>((resolve, reject) => {
      try {
        plugin(app, options, (error) => { error ? reject(error) : resolve() })
      } catch (error) {
        reject(new Error(String((error as Error).message), { cause: error }))
      }
    })
  })
}

/** A client that has signed in. */
export async function signedIn (url: string, user: string, headers?: Record<string, string>): Promise<Client> {
  const client = new Client({ url }, headers)
  const { status, text } = await client.post(`/sign-in/${user}`)
  if (status !== 200) throw new Error(`sign-in returned ${status}: ${text}`)
  return client
}
