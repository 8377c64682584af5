// Builds dist/, the published package: the files that its entry points reach, as JavaScript with declarations, and the unchanged Lua scripts and browser client.
import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, readdirSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'

const root = join(import.meta.dirname, '..')
const dist = join(root, 'dist')

rmSync(dist, { recursive: true, force: true })
const { status } = spawnSync(process.execPath, [join(root, 'node_modules', 'typescript', 'bin', 'tsc'), '--project', 'tsconfig.build.json'], { cwd: root, stdio: 'inherit' })
for (const name of readdirSync(join(root, 'src'), { recursive: true }).filter(name => /\.(?:lua|js)$/.test(name))) {
  const target = join(dist, 'src', name)
  if (existsSync(dirname(target))) cpSync(join(root, 'src', name), target)
}
process.exitCode = status ?? 1
