import { spawn, spawnSync } from 'node:child_process'
import { chmodSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { Redis } from 'ioredis'
import { createRailwayContext, indexGraph, project, validateGraph, type ServiceNode } from 'railway/iac'
import t from 'tap'
import program from '../../.railway/railway.ts'
import { readConfig } from '../../service/config.ts'
import { findRedisServer } from '../../service/dev-redis/find-binary.ts'
import { freePort } from '../support/ports.ts'

const file: { build: object, deploy: Record<string, unknown> } = JSON.parse(readFileSync(join(import.meta.dirname, '../../railway.json'), 'utf8'))

/** The project in `.railway/railway.ts`, as Railway's own tool evaluates it. */
async function evaluate () {
  const { name, resources } = await program(createRailwayContext({ environment: 'production' }), project)
  return { name, nodes: (resources ?? []).flat() }
}

async function evaluateService (name = 'fastify-prism'): Promise<ServiceNode> {
  const found = (await evaluate()).nodes.find((node) => node.address === `service.${name}`)
  if (found?.type !== 'service') throw new Error(`no service ${name} in .railway/railway.ts`)
  return found
}

t.test('railway.ts describes the service, its Redis and the volume of Redis', async (t) => {
  const { name, nodes } = await evaluate()

  t.equal(name, 'fastify-prism')
  t.same(nodes.map(({ address }) => address).sort(), ['service.fastify-prism', 'service.redis', 'volume.redis-data'])
  t.same(validateGraph({ version: 1, project: { name }, resources: nodes, edges: [] } as unknown as Parameters<typeof validateGraph>[0]), [])
  t.equal(indexGraph({ resources: nodes } as unknown as Parameters<typeof indexGraph>[0]).byAddress.size, 3)
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

t.test('the start command of Redis limits its memory, evicts by expiry, saves to its volume, and requires a password', async (t) => {
  const { deploy, volumeAttachments } = await evaluateService('redis')
  const folder = t.testdir({ data: {}, 'docker-entrypoint.sh': '#!/bin/sh\nexec "$@"\n' })
  chmodSync(join(folder, 'docker-entrypoint.sh'), 0o755)
  const port = await freePort()
  const [, script = ''] = /^\/bin\/sh -c "(.*)"$/.exec(deploy?.startCommand ?? '') ?? []
  const command = `${script.replace('--dir /data', `--dir ${join(folder, 'data')}`)} --port ${port} --bind 127.0.0.1`
  const server = findRedisServer()
  const env = { ...process.env, ...server.env, PATH: `${folder}:${dirname(server.path)}:${process.env.PATH}` }

  t.match(Object.entries(volumeAttachments ?? {}), [['redis-data', { mountPath: '/data' }]])
  const { status, stderr } = spawnSync('/bin/sh', ['-c', command], { env, encoding: 'utf8' })
  t.not(status, 0, 'no password, no server')
  t.match(stderr, 'REDIS_PASSWORD')

  const child = spawn('/bin/sh', ['-c', command], { env: { ...env, REDIS_PASSWORD: 'railway' }, stdio: 'ignore' })
  const client = new Redis({ port, password: 'railway', maxRetriesPerRequest: null })
  client.on('error', () => {}) // until the server listens
  t.teardown(() => { client.disconnect(); child.kill('SIGKILL') })
  t.same(await client.config('GET', 'maxmemory'), ['maxmemory', String(256 * 2 ** 20)])
  t.same(await client.config('GET', 'maxmemory-policy'), ['maxmemory-policy', 'volatile-ttl'])
  t.same(await client.config('GET', 'save'), ['save', '60 1'])
})

t.test('railway.ts, README, documents and doctor recommend one memory limit and one eviction policy', async (t) => {
  const text = (path: string) => readFileSync(join(import.meta.dirname, '../..', path), 'utf8')
  const { deploy } = await evaluateService('redis')
  const [, limit = '', policy = ''] = /--maxmemory (\S+) --maxmemory-policy ([\w-]+)/.exec(deploy?.startCommand ?? '') ?? []
  const recommendations = ['README.md', 'docs/deployment.md', 'docs/procedures.md', 'src/cli/checks.ts', 'service/alerts/rules.ts'].map((path) => [path, text(path)] as const)
  const policies = recommendations.flatMap(([path, source]) => [...source.matchAll(/maxmemory-policy ([a-z]+-[a-z]+)/g)].map(([, name]) => `${path}: ${name}`))
  const shares = recommendations.flatMap(([path, source]) => [...source.matchAll(/`?(\d+)mb`? of (?:its )?(\d+) MB/g)].map(([, max, container]) => ({ path, share: Number(max) / Number(container) })))

  t.equal(limit, '256mb')
  t.ok(policies.length > 5)
  t.same(policies.filter((each) => !each.endsWith(`: ${policy}`)), [])
  t.ok(new Set(shares.map(({ path }) => path)).size >= 3, 'README, deployment and doctor')
  t.same(shares.filter(({ share }) => Math.abs(share - 0.75) > 0.01), [], 'three quarters')
})

t.test('railway.ts sets every variable that production requires, and no secret', async (t) => {
  const { variables = {} } = await evaluateService()

  t.strictSame(variables, {
    REDIS_URL: { type: 'reference', resource: 'service.redis', output: 'REDIS_URL' },
    TRUST_PROXY: { type: 'literal', value: 'railway' },
    SESSION_SECRET: { type: 'preserve' },
    ADMIN_TOKEN: { type: 'preserve' }
  })
  t.doesNotThrow(() => readConfig({ NODE_ENV: 'production', TRUST_PROXY: 'railway', REDIS_URL: 'redis://default:p@redis.railway.internal:6379', SESSION_SECRET: 's'.repeat(32), PORT: '3000' }))
})
