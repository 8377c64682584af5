import { execFile, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { freePort } from '../support/ports.ts'
import { readme } from '../support/readme.ts'
import { until } from '../support/until.ts'
import { limits, packPackage, withoutNpm } from './pack.ts'

t.setTimeout(300_000) // it packs and installs
const execute = promisify(execFile)
const folder = mkdtempSync(join(tmpdir(), 'prism-readme-path-'))
t.after(() => rmSync(folder, { recursive: true, force: true }))
const tarball = process.env.PRISM_TARBALL ?? await packPackage(folder)
const port = await freePort()

/** The code blocks of a section, as they are to be pasted: only the package comes from its tarball, and the port is a free one. */
function blocksOf (heading: string, language: string): string[] {
  const section = readme.split(`## ${heading}\n`)[1]?.split('\n## ')[0] ?? ''
  return [...section.matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\`$`, 'gms'))].map(([, block = '']) => block.replaceAll('3000', String(port)))
}

const [install = ''] = blocksOf('Install', 'sh')
const [app = ''] = blocksOf('Usage', 'ts')
const [commands = ''] = blocksOf('Usage', 'sh')
const [start = '', ...requests] = commands.trimEnd().split('\n')
const name = /Save as `([\w.]+)`/.exec(readme)?.[1] ?? ''

t.test('a new user gets from `npm init -y` to a cached, limited and signed-in route with what the README shows, each step pasted', async (t) => {
  const project = join(folder, 'new-project')
  mkdirSync(project)
  const env = { ...withoutNpm(), npm_config_prefer_offline: 'true', REDIS_URL: undefined, SESSION_SECRET: undefined, NODE_ENV: undefined }
  const shell = async (script: string) => (await execute('bash', ['-euc', script], { ...limits, cwd: project, env })).stdout

  const startedAt = performance.now()
  await shell(install.replace(/(?<= )fastify-prism(?= |$)/m, tarball))
  const installedAt = performance.now()
  writeFileSync(join(project, name), app)
  const server = spawn('bash', ['-c', start], { cwd: project, env, stdio: ['ignore', 'pipe', 'inherit'], detached: true })
  t.after(() => { if (server.pid !== undefined) process.kill(-server.pid) })
  let log = ''
  server.stdout.on('data', (bytes: Buffer) => { log += bytes.toString() })
  await until(() => log.includes('Server listening'), { what: 'the server listens' })
  const listensAt = performance.now()
  const outputs: string[] = []
  for (const request of requests) outputs.push(await shell(request.replace('curl', 'curl -s')))
  const endedAt = performance.now()

  t.equal(requests.length, 4)
  for (const [index, request] of requests.entries()) {
    const [, shown = ''] = request.split(' # ')
    t.match(outputs[index], shown.replace(/ttl=\d+$/, 'ttl='), request)
  }
  t.match(outputs.at(-1), /ratelimit: "default";r=96;.*"route";r=27;/, 'each request counts, for all routes and for this one')
  t.match(outputs.at(-1), /\{"of":"ada",/)
  t.comment(`install ${seconds(installedAt - startedAt)}, start ${seconds(listensAt - installedAt)}, four requests ${seconds(endedAt - listensAt)}, in all ${seconds(endedAt - startedAt)}`)
})

function seconds (ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`
}
