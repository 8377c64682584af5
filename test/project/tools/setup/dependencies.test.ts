import { execFileSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'

const module = new URL('../../../../tools/setup/dependencies.mjs', import.meta.url).href
const { installPackages }: { installPackages: (root: string, options: { megabytes: number, withDev: boolean }) => Promise<void> } = await import(module)

/** A project with a package to run and one for development, both from tarballs, so that no registry is requested. */
function project (t: Test, version = '1.0.0'): string {
  const folder = mkdtempSync(join(tmpdir(), 'prism-install-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  for (const name of ['running', 'developing']) {
    mkdirSync(join(folder, name))
    writeFileSync(join(folder, name, 'package.json'), JSON.stringify({ name, version }))
    execFileSync('npm', ['pack', `./${name}`], { cwd: folder, stdio: 'ignore' })
  }
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ private: true, dependencies: { running: `file:running-${version}.tgz` }, devDependencies: { developing: `file:developing-${version}.tgz` } }))
  execFileSync('npm', ['install', '--package-lock-only', '--no-audit', '--no-fund'], { cwd: folder, stdio: 'ignore' })
  return folder
}

const install = async (folder: string, withDev: boolean) => await installPackages(folder, { megabytes: 1, withDev })
const has = (folder: string, name: string) => existsSync(join(folder, 'node_modules', name))
const inode = (folder: string) => statSync(join(folder, 'node_modules', 'running', 'package.json')).ino

t.test('set-up for a start installs no development packages; set-up for tests adds them, without replacing packages that a service may be using', async (t) => {
  const folder = project(t)
  const lockFile = () => readFileSync(join(folder, 'package-lock.json'), 'utf8')
  const locked = lockFile()

  await install(folder, false)
  t.ok(has(folder, 'running'))
  t.notOk(has(folder, 'developing'))

  const running = inode(folder)
  await install(folder, true)
  t.ok(has(folder, 'developing'))
  t.equal(inode(folder), running)
  t.equal(lockFile(), locked, 'the lock file decides the versions, and is not changed')
})

t.test('set-up for a start keeps installed development packages, also when the lock file has changed', async (t) => {
  const folder = project(t)
  await install(folder, true)
  const running = inode(folder)

  await install(folder, false)
  t.ok(has(folder, 'developing'))
  t.equal(inode(folder), running, 'nothing is installed again')

  const newer = project(t, '1.1.0')
  for (const name of ['package.json', 'package-lock.json', 'running-1.1.0.tgz', 'developing-1.1.0.tgz']) copyFileSync(join(newer, name), join(folder, name))
  await install(folder, false)
  for (const name of ['running', 'developing']) t.match(readFileSync(join(folder, 'node_modules', name, 'package.json'), 'utf8'), '1.1.0', name)
})
