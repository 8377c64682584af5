import { execFile } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)
const root = join(import.meta.dirname, '../../..')

/** The revision whose package the rolling upgrade starts from. A release puts its own here. */
export const lastRelease = 'f38423cf4e7e70a4fb412321f1a12d6ace037939'

/** Builds and packs the last release once, and returns the entry of its unpacked tarball; undefined where a shallow clone lacks the revision. */
export async function lastReleaseEntry (): Promise<string | undefined> {
  const folder = join(import.meta.dirname, '../node_modules/.releases', lastRelease)
  const entry = join(folder, 'package/dist/plugins/index.js')
  if (existsSync(entry)) return entry
  const isHere = await run('git', ['cat-file', '-e', `${lastRelease}^{commit}`], { cwd: root }).then(() => true, () => false)
  if (!isHere) return undefined
  // Not inside of node_modules, where npm packs only what package.json names one by one.
  const work = mkdtempSync(join(tmpdir(), 'prism-release-'))
  const [source, unpacked] = [join(work, 'source'), join(work, 'unpacked')]
  mkdirSync(source)
  mkdirSync(unpacked)
  try {
    await run('sh', ['-c', `git archive ${lastRelease} | tar -x -C '${source}'`], { cwd: root })
    symlinkSync(join(root, 'node_modules'), join(source, 'node_modules'), 'dir')
    await run('npm', ['pack', '--pack-destination', work], { cwd: source, env: plainEnvironment() })
    await run('sh', ['-c', `tar -xzf '${work}'/*.tgz -C '${unpacked}'`])
    rmSync(folder, { recursive: true, force: true })
    cpSync(unpacked, folder, { recursive: true })
    symlinkSync(join(root, 'node_modules'), join(folder, 'package/node_modules'), 'dir')
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
  return entry
}

/** The npm that runs the suite hands its settings to its children. */
function plainEnvironment (): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^npm_/i.test(name)))
}
