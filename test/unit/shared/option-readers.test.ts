import fc from 'fast-check'
import t from 'tap'
import { resolveCachePolicy } from '../../../src/cache/options.ts'
import { resolveEventsPolicy } from '../../../src/events/options.ts'
import { resolveLimitOptions } from '../../../src/rate-limit/options.ts'
import { resolveLivePolicy } from '../../../src/live/options.ts'
import { readCount, readRecord, invalidOption } from '../../../src/shared/option-readers.ts'
import { resolveRedisPolicy } from '../../../src/redis/options.ts'
import { resolveSessionPolicy } from '../../../src/session/options.ts'
import { propertyRuns } from '../../support/property-runs.ts'

const secret = 'hunter2-hunter2-hunter2-hunter2-hunter2'
const secrets = ['a secret of the tests: 32 or more']

const resolvers: Record<string, (options: never) => unknown> = {
  redis: resolveRedisPolicy,
  session: (options: object) => resolveSessionPolicy(typeof options === 'object' && !Array.isArray(options) ? { secrets, ...options } as never : options as never),
  rateLimit: resolveLimitOptions,
  events: resolveEventsPolicy,
  live: resolveLivePolicy,
  cache: resolveCachePolicy
}

const known = ['url', 'client', 'connection', 'min', 'max', 'prefix', 'secrets', 'idle', 'absolute', 'origins', 'cookie', 'keys', 'redis', 'quota', 'window', 'by', 'cost', 'failure', 'allow', 'history', 'lifetime', 'topics', 'ttl', 'vary', 'tags', 'partition']
const nameOfOption = fc.oneof(fc.constantFrom(...known), fc.constantFrom('secret', 'password', 'pass', 'uri', 'auth', 'token', `x${secret}`, `redis://:${secret}@host`))
const value = fc.constantFrom<(text: string) => unknown>((text) => text, (text) => [text], (text) => ({ password: text }), (text) => ({ [text]: 1 }), (text) => ({ name: text, url: text, apiKey: text, user: text }), (text) => [{ secret: text }], (text) => `redis://default:${text}@127.0.0.1:6379`, (text) => `redis://:${text}%@host`)

function messageOf (work: () => unknown): string {
  try {
    work()
    return ''
  } catch (error) {
    return String(error) + JSON.stringify(error)
  }
}

t.test('option errors never print a given text, whatever the option', async (t) => {
  fc.assert(fc.property(fc.constantFrom(...Object.keys(resolvers)), fc.array(nameOfOption, { maxLength: 3 }), value, (resolver, path, valueOf) => {
    // Names of keys, topics and retention patterns belong to the app, and are printed.
    fc.pre(!path.some((name) => ['keys', 'topics', 'histories', 'schemas'].includes(name)))
    const options = path.reduceRight<unknown>((inner, name) => ({ [name]: inner }), valueOf(secret))
    const message = messageOf(() => resolvers[resolver]?.(options as never))
    if (message.includes(secret)) throw new Error(message)
  }), { numRuns: propertyRuns(1000) })
  t.match(messageOf(() => resolveRedisPolicy(`redis://:${secret}@host` as never)), /Option redis must be an object of .*, but is a text\./)
})

t.test('option errors print numbers, booleans and enumerated words, and for redis and session only the kind of value', async (t) => {
  const refusals: [() => unknown, RegExp][] = [
    [() => resolveLimitOptions({ quota: 0 }), /rateLimit\.quota must be .*, but is 0\./],
    [() => resolveLimitOptions({ quota: true as never }), /but is true\./],
    [() => resolveLimitOptions({ failureMode: 'opened' as never }), /rateLimit\.failureMode must be one of .*, but is 'opened'\./],
    [() => resolveLimitOptions({ window: '1 minute' as never }), /rateLimit\.window must be .*, but is a text\./],
    [() => resolveLimitOptions({ failures: 'open' } as never), /Unknown option rateLimit\.failures\. Known options: quota/],
    [() => resolveRedisPolicy({ min: 0 }), /redis\.min must be .*, but is a number\./],
    [() => resolveSessionPolicy({ secrets, idleTimeout: 3600 as never }), /session\.idleTimeout must be .*, but is a number\./],
    [() => resolveSessionPolicy({ secret } as never), /Unknown option session\.secret\. It is an option of @fastify\/session and express-session: here, write session\.secrets/],
    [() => readRecord('redis', { [`redis://:${secret}@host`]: 1 }, ['url']), /Unknown option redis\.\(name not shown\)\./],
    [() => readCount('sessionCount', -1), /but is -1\./],
    [() => invalidOption('x', 'y', ''), /but is an empty text\./],
    [() => invalidOption('x', 'y', null), /but is null\./]
  ]

  for (const [work, message] of refusals) t.throws(work, { code: 'PRISM_ERR_OPTION', message })
})
