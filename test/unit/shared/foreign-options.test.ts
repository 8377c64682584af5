import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import Fastify from 'fastify'
import type { RouteShorthandOptions } from 'fastify'
import t from 'tap'
import prism from '../../../plugins/index.ts'
import { resolveCachePolicy, resolveRoutePolicy } from '../../../src/cache/options.ts'
import { resolveLimitOptions, resolveLimitPolicies } from '../../../src/rate-limit/options.ts'
import { resolveRedisPolicy } from '../../../src/redis/options.ts'
import { resolveSessionPolicy, resolveSessionUse } from '../../../src/session/options.ts'
import { commandTimeout } from '../../support/deadline.ts'
import { startRedis } from '../../support/redis.ts'
import { tableOf } from '../../support/readme.ts'

const secrets = ['a secret of the tests: 32 or more']
const root = join(import.meta.dirname, '../../..')

/** The names of the properties of interfaces in a declaration file. */
function propertiesOf (file: string, ...interfaces: string[]): string[] {
  const text = readFileSync(join(root, 'node_modules', file), 'utf8')
  return interfaces.flatMap((name) => {
    const [, body = ''] = new RegExp(`^( *)export interface ${name}\\b[^\\n]*\\{\\n([\\s\\S]*?)^\\1\\}`, 'm').exec(text)?.slice(1) ?? []
    return [...body.matchAll(/^ {4}(\w+)\??(?=[:(<])/gm)].map(([, property = '']) => property)
  })
}

const expressSession = readFileSync(join(root, 'node_modules/express-session/index.js'), 'utf8')

/** The option names of each package, from its own files; @fastify/caching is compared with its types by test/ecosystem/migrate.test.ts. */
const theirs = {
  rateLimit: propertiesOf('@fastify/rate-limit/types/index.d.ts', 'CreateRateLimitOptions', 'RateLimitOptions', 'RateLimitPluginOptions'),
  session: [...propertiesOf('@fastify/session/types/index.d.ts', 'FastifySessionOptions'), ...[...expressSession.matchAll(/@param \{[^}]*\} \[options\.(\w+)/g)].map(([, name = '']) => name)],
  cookie: [...propertiesOf('@fastify/session/types/index.d.ts', 'CookieOptions'), 'domain', 'encode', 'expires', 'originalMaxAge', 'partitioned', 'path', 'priority', 'sameSite', 'signed'],
  caching: ['cache', 'cacheSegment', 'etagMaxLife', 'expiresIn', 'privacy', 'serverExpiresIn']
}

/** Options of ioredis that name the server; others are accepted in `redis.connection`. */
const ioredis = ['host', 'port', 'path', 'username', 'password', 'db', 'tls', 'keyPrefix', 'sentinels']

/** Where each of them may be written: what reads it there, and the options that it shares with us in name. */
const places: { of: string, names: readonly string[], read: (name: string) => unknown, shared: readonly string[] }[] = [
  { of: 'ioredis', names: ioredis, read: (name) => resolveRedisPolicy({ [name]: 1 } as never), shared: [] },
  { of: '@fastify/rate-limit', names: theirs.rateLimit, read: (name) => resolveLimitOptions({ [name]: 1 } as never), shared: ['allowList', 'hook', 'ipv6Subnet', 'onExceeded'] },
  { of: '@fastify/rate-limit', names: theirs.rateLimit, read: (name) => resolveLimitPolicies({}, [{ quota: 5, [name]: 1 }], true), shared: ['hook', 'onExceeded'] },
  { of: '@fastify/rate-limit', names: theirs.rateLimit, read: (name) => resolveLimitPolicies({}, [[{ quota: 5, [name]: 1 }]], true), shared: ['hook', 'onExceeded'] },
  { of: '@fastify/session', names: theirs.session, read: (name) => resolveSessionPolicy({ secrets, [name]: 1 } as never), shared: ['cookie'] },
  { of: '@fastify/session', names: theirs.session, read: (name) => resolveSessionUse([{ [name]: 1 }]), shared: ['cookie'] },
  { of: '@fastify/session', names: theirs.cookie, read: (name) => resolveSessionPolicy({ secrets, cookie: { [name]: 1 } } as never), shared: ['domain', 'partitioned', 'path', 'sameSite', 'secure'] },
  { of: '@fastify/caching', names: theirs.caching, read: (name) => resolveCachePolicy({ [name]: 1 } as never), shared: [] },
  { of: '@fastify/caching', names: theirs.caching, read: (name) => resolveRoutePolicy([{ [name]: 1 }], resolveCachePolicy()), shared: [] }
]

const ours = new Set(tableOf('docs/options.md', 'option').flatMap(([names = '']) => names.split(', ')))

function messageOf (work: () => unknown): string {
  try {
    work()
  } catch (error) {
    return (error as { code?: string }).code === 'PRISM_ERR_OPTION' ? (error as Error).message : String(error)
  }
  return 'accepted'
}

t.test('each option of ioredis, @fastify/rate-limit, @fastify/session, express-session and @fastify/caching is rejected with what to write instead', async (t) => {
  t.ok(theirs.rateLimit.length > 20 && theirs.session.length > 15 && theirs.cookie.length > 10)
  for (const { of, names, read, shared } of places) {
    for (const name of names) {
      if (shared.includes(name)) continue
      const message = messageOf(() => read(name))
      t.match(message, new RegExp(`^Unknown option [\\w.\\[\\]]+\\.${name}\\. It is an option of ${of}.*: here, .{15}`), message)
      const named = message.slice(message.indexOf(': here,')).match(/(?<![\w.])(?:rateLimit|session|cache|redis)(?:\.\w+)+/g) ?? []
      t.same(named.filter((option) => !ours.has(option)), [], `${of} ${name}: what it names exists`)
    }
  }
})

t.test('an option of another package in place of a feature fails the start, on the stack and in a route, and the value is not shown', async (t) => {
  const { url } = await startRedis(t)
  const start = async (options: object, config?: object): Promise<string> => {
    const app = Fastify()
    try {
      await app.register(prism, { redis: { url, commandTimeout }, session: { secrets }, ...options })
      if (config !== undefined) app.get('/', { config } as RouteShorthandOptions, async () => 1)
      await app.ready()
      return 'started'
    } catch (error) {
      return (error as Error).message
    } finally {
      await app.close()
    }
  }

  t.match(await start({ max: 100 }), /prism\.max\. .*@fastify\/rate-limit: here, write rateLimit\.quota/)
  t.match(await start({ store: {} }), /prism\.store\. .*@fastify\/rate-limit and @fastify\/session/)
  t.match(await start({ expiresIn: 5 }), /prism\.expiresIn\. .*@fastify\/caching/)
  t.match(await start({ rateLimit: { timeWindow: '1 minute' } }), /rateLimit\.timeWindow\. .*write rateLimit\.window/)
  t.match(await start({ rateLimit: { allowList: () => true } }), /rateLimit\.allowList must be .*rateLimit\.cost/)
  t.match(await start({}, { rateLimit: { max: 5, timeWindow: 1000 } }), /rateLimit\.max\. .*write rateLimit\.quota/)
  t.match(await start({}, { cache: { expiresIn: 300 } }), /cache\.expiresIn\. .*browserMaxAge/)
  const secret = 'hunter2-hunter2-hunter2-hunter2-hunter2'
  const message = await start({ session: { secret } })
  t.match(message, /session\.secret\. .*write session\.secrets/)
  t.notMatch(message, secret)
})
