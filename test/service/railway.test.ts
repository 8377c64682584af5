import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createRailwayContext, indexGraph, project, validateGraph, type ServiceNode } from 'railway/iac'
import t from 'tap'
import program from '../../.railway/railway.ts'
import { readConfig } from '../../service/config.ts'

const file: { build: object, deploy: Record<string, unknown> } = JSON.parse(readFileSync(join(import.meta.dirname, '../../railway.json'), 'utf8'))

/** The project in `.railway/railway.ts`, as Railway's own tool evaluates it. */
async function evaluate () {
  const { name, resources } = await program(createRailwayContext({ environment: 'production' }), project)
  return { name, nodes: (resources ?? []).flat() }
}

async function evaluateService (): Promise<ServiceNode> {
  const web = (await evaluate()).nodes.find((node) => node.type === 'service')
  if (web?.type !== 'service') throw new Error('no service in .railway/railway.ts')
  return web
}

t.test('railway.ts describes one service and one Redis that match', async (t) => {
  const { name, nodes } = await evaluate()

  t.equal(name, 'fastify-prism')
  t.same(nodes.map(({ address }) => address).sort(), ['database.redis', 'service.fastify-prism'])
  t.same(validateGraph({ version: 1, project: { name }, resources: nodes, edges: [] } as unknown as Parameters<typeof validateGraph>[0]), [])
  t.equal(indexGraph({ resources: nodes } as unknown as Parameters<typeof indexGraph>[0]).byAddress.size, 2)
})

t.test('railway.ts and railway.json agree on build and deploy', async (t) => {
  const web = await evaluateService()

  t.strictSame({ ...web.build }, { ...file.build })
  t.strictSame({ ...web.deploy }, { ...file.deploy })
})

t.test('railway.json has the types that the platform reads: numbers are numbers', async (t) => {
  t.strictSame(file.build, { builder: 'DOCKERFILE', dockerfilePath: 'Dockerfile' })
  t.match(file.deploy, { healthcheckPath: '/healthz/ready', restartPolicyType: 'ON_FAILURE' })
  for (const name of ['healthcheckTimeout', 'drainingSeconds', 'overlapSeconds', 'restartPolicyMaxRetries']) t.type(file.deploy[name], 'number')
})

t.test('railway.json drains longer than the service takes to stop', async (t) => {
  t.ok(Number(file.deploy.drainingSeconds) > 5)
})

t.test('railway.ts sets every variable that production requires, and no secret', async (t) => {
  const { variables = {} } = await evaluateService()

  t.strictSame(variables, {
    REDIS_URL: { type: 'reference', resource: 'database.redis', output: 'REDIS_URL' },
    TRUST_PROXY: { type: 'literal', value: 'railway' },
    SESSION_SECRET: { type: 'preserve' },
    ADMIN_TOKEN: { type: 'preserve' }
  })
  t.doesNotThrow(() => readConfig({ NODE_ENV: 'production', TRUST_PROXY: 'railway', REDIS_URL: 'redis://default:p@redis.railway.internal:6379', SESSION_SECRET: 's'.repeat(32), PORT: '3000' }))
})
