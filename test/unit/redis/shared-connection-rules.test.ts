import { Command } from 'ioredis'
import t from 'tap'
import { needsDedicatedConnection, refuseInPipeline } from '../../../src/redis/shared-connection-rules.ts'

t.test('commands that block, or change the connection for other callers, are rejected', async (t) => {
  const is = (name: string, ...args: string[]) => needsDedicatedConnection(new Command(name, args))

  for (const name of ['SUBSCRIBE', 'blpop', 'BZMPOP', 'WAIT', 'watch', 'MULTI', 'exec', 'Select', 'MONITOR', 'RESET', 'quit']) t.equal(is(name), true, name)
  t.equal(is('XREAD', 'BLOCK', '0', 'STREAMS', 's', '$'), true)
  t.equal(is('xreadgroup', 'GROUP', 'g', 'c', 'block', '0', 'STREAMS', 's', '>'), true)
  t.equal(is('CLIENT', 'REPLY', 'OFF'), true)
  t.equal(is('client', 'tracking', 'on'), true)
})

t.test('all other commands are accepted', async (t) => {
  const is = (name: string, ...args: string[]) => needsDedicatedConnection(new Command(name, args))

  for (const name of ['get', 'SET', 'evalsha', 'publish', 'lpop', 'info']) t.equal(is(name), false, name)
  t.equal(is('XREAD', 'STREAMS', 's', '0'), false)
  t.equal(is('CLIENT', 'LIST'), false)
})

t.test('a transaction is accepted only as one pipeline', async (t) => {
  t.doesNotThrow(() => refuseInPipeline(new Command('multi')))
  t.doesNotThrow(() => refuseInPipeline(new Command('EXEC')))
  t.doesNotThrow(() => refuseInPipeline(new Command('get', ['key'])))
  t.throws(() => refuseInPipeline(new Command('blpop', ['key', '0'])), { code: 'PRISM_ERR_REDIS_SHARED' })
  t.throws(() => refuseInPipeline(new Command('watch', ['key'])), { code: 'PRISM_ERR_REDIS_SHARED' })
})
