import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'

const root = join(import.meta.dirname, '../..')
const linesOf = (name: string) => readFileSync(join(root, name), 'utf8').replaceAll('\\\n', ' ').split('\n').filter((line) => line !== '' && !line.startsWith('#'))
const dockerfile = linesOf('Dockerfile')
const stages = dockerfile.filter((line) => line.startsWith('FROM ')).map((line) => line.split(/\s+/))
const service = dockerfile.slice(dockerfile.findLastIndex((line) => line.startsWith('FROM ')))

t.test('Dockerfile builds in stages on one slim Debian with Node 24', async (t) => {
  t.same(stages.map(([, image]) => image), ['node:24-bookworm-slim', 'node:24-bookworm-slim', 'node:24-bookworm-slim'])
  t.same(stages.map(([, , , name]) => name), ['atlas', 'dependencies', 'service'])
})

t.test('Dockerfile installs by the lockfile, runs no package scripts, and installs no development dependencies', async (t) => {
  const installs = dockerfile.filter((line) => line.includes('npm '))

  for (const line of installs) t.match(line, /^RUN npm ci .*--ignore-scripts/)
  t.ok(installs.some((line) => line.includes('--omit=dev')))
  t.ok(service.some((line) => line.startsWith('COPY --from=dependencies /app/node_modules')))
  t.notOk(service.some((line) => line.includes('npm ')))
})

t.test('Dockerfile runs as a user other than root, with the database in a writable folder', async (t) => {
  const userAt = service.findIndex((line) => line === 'USER node')
  const commandAt = service.findIndex((line) => line.startsWith('CMD '))

  t.ok(userAt >= 0 && userAt < commandAt)
  t.match(service.join('\n'), /DATABASE_PATH=\/data\/atlas\.db/)
  t.ok(service.includes('RUN mkdir /data && chown node:node /data'))
})

t.test('Dockerfile starts Node directly, so that Node receives the signals', async (t) => {
  const [command] = service.filter((line) => line.startsWith('CMD '))

  const words: string[] = JSON.parse(command?.slice(4) ?? '')
  t.equal(words[0], 'node')
  t.equal(words.at(-1), 'service/server.ts')
})

t.test('Dockerfile checks readiness with Node only', async (t) => {
  const [check] = service.filter((line) => line.startsWith('HEALTHCHECK '))

  t.match(check, /CMD \["node", "-e", ".*\/healthz\/ready/)
})

t.test('Dockerfile sets production and no secret', async (t) => {
  t.match(service.join('\n'), /NODE_ENV=production/)
  t.notMatch(dockerfile.join('\n'), /SESSION_SECRET|ADMIN_TOKEN|REDIS_URL|PASSWORD/)
})

t.test('Dockerfile copies only what .dockerignore lets through', async (t) => {
  const admitted = new Set(linesOf('.dockerignore').filter((line) => line.startsWith('!')).map((line) => line.slice(1)))
  const copied = dockerfile.filter((line) => line.startsWith('COPY ') && !line.includes('--from')).flatMap((line) => line.split(/\s+/).slice(1, -1))

  for (const name of copied) t.ok(admitted.has(name) || admitted.has(name.split('/')[0] ?? ''), name)
})

t.test('.dockerignore excludes everything that it does not list, and secrets inside of that', async (t) => {
  const lines = linesOf('.dockerignore')

  t.equal(lines[0], '*')
  for (const secret of ['**/.env*', '**/*.pem', '**/*.key', '**/.npmrc', '**/node_modules']) {
    t.ok(lines.indexOf(secret) > lines.findLastIndex((line) => line.startsWith('!')), secret)
  }
})
