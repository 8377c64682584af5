import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, existsSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import t from 'tap'

async function exitCode ([program = '', ...args]: string[], port: number): Promise<number> {
  const [code] = await once(spawn(program, args, { env: { ...process.env, PORT: String(port) }, stdio: 'ignore' }), 'exit') as [number]
  return code
}

/** Exit code and output of a program. */
async function output (program: string, args: string[], cwd: string, home = process.env.HOME): Promise<{ code: number, text: string }> {
  const child = spawn(program, args, { cwd, env: { ...process.env, HOME: home, npm_config_cache: join(home ?? '', '.npm') }, stdio: ['ignore', 'pipe', 'pipe'] })
  const parts: string[] = []
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (part: Buffer) => parts.push(String(part)))
  const [code] = await once(child, 'close') as [number]
  return { code, text: parts.join('') }
}

const root = join(import.meta.dirname, '../..')
const linesOf = (name: string) => readFileSync(join(root, name), 'utf8').replaceAll('\\\n', ' ').split('\n').filter((line) => line !== '' && !line.startsWith('#'))
const dockerfile = linesOf('Dockerfile')
const stages = dockerfile.filter((line) => line.startsWith('FROM ')).map((line) => line.split(/\s+/))
const service = dockerfile.slice(dockerfile.findLastIndex((line) => line.startsWith('FROM ')))
const atlas = dockerfile.slice(0, dockerfile.findIndex((line) => line.endsWith(' AS dependencies')))
const atlasFiles = atlas.filter((line) => line.startsWith('COPY ')).flatMap((line) => line.split(/\s+/).slice(1, -1)).filter((name) => name.endsWith('.ts'))
const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as { packages: Record<string, LockedPackage | undefined> }

interface LockedPackage { dev?: boolean, optional?: boolean, dependencies?: Record<string, string> }

/** The packages that an installation of one workspace contains, without optional ones. */
function installedFor (workspace: string): string[] {
  const found = new Set<string>()
  const add = ({ dependencies = {} }: LockedPackage = {}): void => {
    for (const name of Object.keys(dependencies)) {
      if (found.has(name)) continue
      found.add(name)
      add(packages[`node_modules/${name}`])
    }
  }
  add(packages[workspace])
  return [...found]
}

t.test('Dockerfile builds in stages on one slim Debian with Node 24', async (t) => {
  t.same(stages.map(([, image]) => image), ['node:24-bookworm-slim', 'node:24-bookworm-slim', 'node:24-bookworm-slim'])
  t.same(stages.map(([, , , name]) => name), ['atlas', 'dependencies', 'service'])
})

t.test('Dockerfile installs by the lockfile, runs no package scripts, and installs no development dependencies', async (t) => {
  const installs = dockerfile.filter((line) => /npm (?!pkg )/.test(line))

  for (const line of installs) t.match(line, /^RUN npm ci .*--ignore-scripts/)
  for (const line of installs) t.match(line, '--omit=dev')
  t.ok(installs.some((line) => line.includes('--workspace=start-only')), 'the cities, for the stage of the database')
  t.ok(installs.some((line) => line.includes('--workspace=service-only ')), 'and the service without them')
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

t.test('Dockerfile checks readiness without a process of Node', async (t) => {
  const [check] = service.filter((line) => line.startsWith('HEALTHCHECK '))
  const command: string[] = JSON.parse(/CMD (\[.*\])$/.exec(check ?? '')?.[1] ?? '[]')
  const status = async (code: number) => {
    const server = createServer((request, response) => response.writeHead(request.url === '/healthz/ready' ? code : 404).end()).listen(0, '127.0.0.1')
    await once(server, 'listening')
    t.after(() => server.close())
    return await exitCode(command, (server.address() as AddressInfo).port)
  }

  t.not(command[0], 'node')
  t.equal(await status(200), 0)
  t.not(await status(503), 0)
  t.not(await exitCode(command, 1), 0, 'a port on which nothing listens')
})

t.test('Dockerfile builds the database from files that no other part of the service is in', async (t) => {
  const imports = (file: string): string[] => [file, ...[...readFileSync(join(root, file), 'utf8').matchAll(/ from '(\.[^']+)'/g)].flatMap(([, name = '']) => imports(join(dirname(file), name)))]

  t.same([...atlasFiles].sort(), [...new Set(imports('service/atlas/load.ts'))].sort())
})

t.test('the stage of the database loads it with the files and packages that it has', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'prism-image-')) // outside of the clone, whose packages would be found
  t.after(() => rmSync(folder, { recursive: true }))
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }')
  for (const name of atlasFiles) cpSync(join(root, name), join(folder, name))
  for (const name of installedFor('tools/start')) {
    mkdirSync(dirname(join(folder, 'node_modules', name)), { recursive: true })
    symlinkSync(join(root, 'node_modules', name), join(folder, 'node_modules', name))
  }
  const [, ...command] = atlas.at(-1)?.split(/\s+/) ?? []
  const { code, text } = await output(process.execPath, command.slice(1), folder)

  t.equal(code, 0, text)
  t.ok(existsSync(join(folder, command.at(-1) ?? '')))
})

t.test('each package that the image imports is installed without the development dependencies', async (t) => {
  const files = ['plugins', 'src', 'service', 'routes'].flatMap((folder) => globSync(`${folder}/**/*.ts`, { cwd: root }))
  const imported = files.flatMap((file) => [...readFileSync(join(root, file), 'utf8').matchAll(/^import (?!type)[^;]*? from '([^.'][^']*)'/gm)].map(([, name = '']) => /^(?:@[^/]+\/)?[^/]+/.exec(name)?.[0] ?? ''))
  const installed = (name: string) => [`node_modules/${name}`, `service/node_modules/${name}`].some((path) => packages[path] !== undefined && packages[path].dev !== true && packages[path].optional !== true)

  t.same([...new Set(imported)].filter((name) => !name.startsWith('node:') && !installed(name)), [])
})

t.test('npx fastify-prism runs in the image, on a read-only file system, with the commands of the service', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'prism-image-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const changes = dockerfile.find((line) => line.startsWith('RUN npm pkg delete bin'))?.slice('RUN '.length) ?? ''
  cpSync(join(root, 'package.json'), join(folder, 'package.json'))
  mkdirSync(join(folder, 'node_modules/.bin'), { recursive: true })
  symlinkSync(join(root, 'service'), join(folder, 'service'))
  t.equal((await output('sh', ['-c', changes], folder)).code, 0)
  t.ok(service.includes('COPY --from=dependencies /app/package.json ./'))

  const help = await output('npx', ['fastify-prism', 'alert', '--help'], folder, join(folder, 'package.json')) // a file: nothing can be created there
  t.match(help, { code: 0, text: /npx fastify-prism alert/ })
})

t.test('Dockerfile installs OpenTelemetry only where the build requires it', async (t) => {
  const [install] = dockerfile.filter((line) => line.includes('--workspace=service-only'))

  t.ok(dockerfile.includes('ARG TRACING=false'))
  t.match(install, /--workspace=service-only \$\(\[ "\$TRACING" = true \] && echo --workspace=tracing-only\) --include-workspace-root/)
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
