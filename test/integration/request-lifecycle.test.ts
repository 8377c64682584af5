import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import requestLifecycle from '../../plugins/request-lifecycle.ts'
import type { LifecycleParticipant } from '../../plugins/request-lifecycle.ts'

interface Choice { word?: string }
type Part = Omit<LifecycleParticipant<Choice>, 'name' | 'resolve'>

const later = () => new Promise<void>((resolve) => setTimeout(resolve, 5))

async function start (t: Test, ...parts: Part[]): Promise<FastifyInstance> {
  const app = Fastify()
  t.after(() => app.close())
  await app.register(requestLifecycle)
  const names = ['rateLimit', 'session', 'cache'] as const
  parts.forEach((part, index) => app.requestLifecycle.join<Choice>({ name: names[index] ?? 'cache', resolve: (choices) => Object.assign({}, ...choices) as Choice, ...part }))
  return app
}

t.test('enqueueReads of all plugins runs before useReplies of any', async (t) => {
  const steps: string[] = []
  const part = (name: string): Part => ({ enqueueReads: () => { steps.push(`enqueueReads ${name}`) }, useReplies: async () => { await later(); steps.push(`useReplies ${name}`) } })
  const app = await start(t, part('one'), part('two'))
  app.get('/', async () => { steps.push('handler') })

  await app.inject('/')

  t.same(steps, ['enqueueReads one', 'enqueueReads two', 'useReplies one', 'useReplies two', 'handler'])
})

t.test('no later step runs after a step returns stop, even while onSend of the reply is still running', async (t) => {
  let runs = 0
  const app = await start(t, { useReplies: async (_request, reply) => { reply.code(429).send('refused'); return 'stop' as const } }, { useReplies: () => { runs += 1 }, onSend: later })
  app.addHook('preHandler', async () => { runs += 1 })
  app.post('/', async () => { runs += 1 })

  const { statusCode, body } = await app.inject({ method: 'POST', url: '/' })

  t.equal(statusCode, 429)
  t.equal(body, 'refused')
  t.equal(runs, 0)
})

t.test('an error thrown by a step, synchronously or later, becomes the response', async (t) => {
  const failure = Object.assign(new Error('no'), { statusCode: 418 })
  const parts: Part[] = [
    { useReplies: () => { throw failure } },
    { useReplies: async () => { await later(); throw failure } },
    { onSend: (request) => { if (request.url === '/') throw failure } },
    { onSend: async (_request, reply) => { await later(); if (reply.statusCode === 200) throw failure } }
  ]

  for (const part of parts) {
    const app = await start(t, {}, part)
    app.get('/', async () => 'fine')
    t.equal((await app.inject('/')).statusCode, 418)
  }
})

t.test('each onSend receives the payload that the one before returned', async (t) => {
  const app = await start(t, { onSend: (_request, _reply, payload) => `${String(payload)}1` }, { onSend: async (_request, _reply, payload) => `${String(payload)}2` }, { onSend: () => undefined })
  app.get('/', async () => '0')

  t.equal((await app.inject('/')).body, '012')
})

t.test("a route's policy merges the options of its scopes and its own, outermost first", async (t) => {
  const words: unknown[] = []
  const app = await start(t, { enqueueReads: (_request, _reply, policy) => { words.push(policy) } })
  await app.register(async (scope) => {
    scope.routeDefaults({ rateLimit: { word: 'outer' } } as never)
    await scope.register(async (inner) => {
      inner.routeDefaults({ rateLimit: { word: 'inner' } } as never)
      inner.get('/inner', async () => '')
      inner.get('/own', { config: { rateLimit: { word: 'own' } } as never }, async () => '')
    })
    scope.get('/outer', async () => '')
  })
  app.get('/root', async () => '')

  for (const url of ['/inner', '/own', '/outer', '/root', '/nowhere']) await app.inject(url)

  t.same(words, [{ word: 'inner' }, { word: 'own' }, { word: 'outer' }, {}, {}])
})

t.test('routeDefaults rejects an unknown option', async (t) => {
  const app = await start(t, {})

  t.throws(() => app.routeDefaults({ cash: {} } as never), { code: 'PRISM_ERR_OPTION', message: /routeDefaults\.cash/ })
})
