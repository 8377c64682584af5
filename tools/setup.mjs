// Installs what `npm start` needs: dependencies, a Redis server, the atlas; with `--test` what `npm test` needs: also the development
// dependencies, and no atlas. Runs on Node 20, before anything is installed.
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { bringDependencies, installPackages, workingNode } from './setup/dependencies.mjs'
import { lockFolder } from './setup/lock.mjs'
import { bringRedis, hasRedis } from './setup/redis.mjs'
import { SetupError, run } from './setup/run.mjs'
import { bringServers } from './setup/servers.mjs'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const forTests = process.argv.includes('--test')
const forEcosystem = process.argv.includes('--ecosystem')
const forPackage = process.argv.includes('--package')
const forBench = process.argv.includes('--bench')
const minimumMajor = 20

for (const [signal, code] of [['SIGINT', 130], ['SIGTERM', 143], ['SIGHUP', 129]]) process.on(signal, () => process.exit(code))

try {
  if (Number(process.versions.node.split('.')[0]) < minimumMajor) throw new SetupError(`Node ${process.versions.node} is too old.`, 'Install Node 20 or later, https://nodejs.org has it; Node 24 is best.')
  const unlock = await lockFolder(root)
  await both(bringPackages(), hasRedis(root) ? undefined : bringRedis(root))
  if (forPackage) await bringServers(root)
  unlock()
} catch (error) {
  if (!(error instanceof SetupError)) throw error
  console.error(`\nset-up: ${error.message}\n${error.advice}\nThen run the same command again: completed steps are not repeated.`)
  process.exitCode = 1
}

/** Waits for the end of both, also where one fails: what the other completes is not repeated by the next set-up. */
async function both (...steps) {
  const failed = (await Promise.allSettled(steps)).find(({ status }) => status === 'rejected')
  if (failed !== undefined) throw failed.reason
}

async function bringPackages () {
  await bringDependencies(root, { withDev: forTests })
  if (forEcosystem) await installPackages(join(root, 'test', 'ecosystem'), { megabytes: 400 })
  if (forPackage) await installPackages(join(root, 'tools', 'package'), { megabytes: 220 })
  if (forBench) await installPackages(join(root, 'bench'), { megabytes: 10 })
  if (!forTests) await loadAtlas()
}

// The load prints its own progress; if the cities are loaded already it prints one line, which is suppressed.
async function loadAtlas () {
  const database = process.env.DATABASE_PATH || join('.data', 'atlas.db')
  await run(workingNode(root), ['service/atlas/load.ts', database], {
    cwd: root,
    pass: line => / of /.test(line),
    advice: `Is the disk full, or the folder of ${database} not writable? DATABASE_PATH names another file.`
  })
}
