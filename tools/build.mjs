// Makes dist/, what the package publishes: JavaScript and declarations from the compiler, and the Lua and SQL files as they are.
import { spawnSync } from 'node:child_process'
import { cpSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'

const root = join(import.meta.dirname, '..')
rmSync(join(root, 'dist'), { recursive: true, force: true })
const { status } = spawnSync(process.execPath, [join(root, 'node_modules', 'typescript', 'bin', 'tsc'), '--project', 'tsconfig.build.json'], { cwd: root, stdio: 'inherit' })
for (const folder of ['src', 'plugins']) copyData(folder)
process.exitCode = status ?? 1

function copyData (folder) {
  for (const name of readdirSync(join(root, folder), { recursive: true })) {
    if (/\.(lua|sql)$/.test(name)) cpSync(join(root, folder, name), join(root, 'dist', folder, name))
  }
}
