import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import t from 'tap'
import { testDatabase, testSecret } from '../support/app.ts'
import { startRedis } from '../support/redis.ts'
import { until } from '../support/until.ts'

t.test('npm start names the page first, and forwards SIGTERM to the service, which exits', async (t) => {
  const { url } = await startRedis(t)
  const { PATH = '' } = process.env
  const env = { PATH, REDIS_URL: url, DATABASE_PATH: testDatabase(t), SESSION_SECRET: testSecret, PORT: '0', HOST: '127.0.0.1' }
  // Without the script before the start: set-up has already run.
  const npm = spawn('npm', ['start', '--ignore-scripts'], { cwd: join(import.meta.dirname, '../..'), env, detached: true, stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = once(npm, 'close') // the output closes once the service has ended too
  t.after(async () => {
    try {
      process.kill(-(npm.pid ?? 0), 'SIGKILL')
    } catch {
      // All processes have ended.
    }
    await ended
  })
  const logs: string[] = []
  createInterface(npm.stdout).on('line', (line) => logs.push(line))
  await until(() => logs.some((line) => line.includes('"Server ready"')), { what: 'the service listens', deadlineMs: 60_000 })

  const { urls } = JSON.parse(logs.find((line) => line.includes('"Server ready"')) ?? '') as { urls: string[] }
  t.same(urls.map((url) => new URL(url).pathname), ['/', '/docs', '/cities'], 'the page comes first')

  npm.kill('SIGTERM')
  await ended

  t.match(logs.at(-1), '"Stopped"')
})
