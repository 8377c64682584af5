import { execFileSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { run, say } from './run.mjs'

/** The servers that the package's tests run on besides the machine's own: name, package, program. Debian 13 has these versions. */
const servers = [['redis-8', 'redis', 'redis-server'], ['valkey-8', 'valkey', 'valkey-server']]
/** With the C library of their release, because that of the machine may be older. */
const libraries = ['libc6', 'libatomic1', 'libjemalloc2', 'liblzf1', 'libssl3t64', 'libstdc++6', 'libgcc-s1', 'libsystemd0', 'libcap2', 'zlib1g', 'libzstd1']
const release = 'trixie'

/** Unpacks Redis 8 and Valkey 8 to `.redis/servers`, with their libraries; needs no root. Without them, which is no failure, their tests are skipped. */
export async function bringServers (root) {
  const folder = join(root, '.redis', 'servers')
  if (servers.every(([name]) => runs(join(folder, name)))) return
  const work = join(root, '.redis', `work-servers-${process.pid}`)
  try {
    say('bringing Redis 8 and Valkey 8 from Debian\'s packages to .redis/servers (about 20 MB)')
    await unpackServers(work)
    rmSync(folder, { recursive: true, force: true })
    renameSync(join(work, 'servers'), folder)
    for (const [name, , program] of servers) writeProgram(folder, name, program)
    say(servers.map(([name]) => `${name} ${runs(join(folder, name)) ? 'runs' : 'does not run here'}`).join(', '))
  } catch (error) {
    say(`no Redis 8 and Valkey 8, their tests are skipped: ${error.message.split('\n')[0]}`)
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

async function unpackServers (work) {
  for (const name of ['debs', 'servers', 'lists/partial', 'cache/archives/partial']) mkdirSync(join(work, name), { recursive: true })
  writeFileSync(join(work, 'sources.list'), `deb ${mirror()} ${release} main\n`)
  const apt = ['APT::Sandbox::User=root', `Dir::State::lists=${join(work, 'lists')}`, `Dir::Cache=${join(work, 'cache')}`, `Dir::Etc::sourcelist=${join(work, 'sources.list')}`, 'Dir::Etc::sourceparts=/dev/null'].flatMap(each => ['-o', each])
  await run('apt-get', [...apt, 'update'], { cwd: work, progress: () => 'fetching package lists' })
  const packages = [...servers.flatMap(([, name]) => [`${name}-server`, `${name}-tools`]), ...libraries].map(name => `${name}/${release}`)
  await run('apt-get', [...apt, 'download', ...packages], { cwd: join(work, 'debs'), progress: () => 'downloading the servers and their libraries' })
  for (const deb of readdirSync(join(work, 'debs'))) await run('dpkg', ['-x', join(work, 'debs', deb), join(work, 'servers')])
}

/** The Debian mirror that this machine uses. */
function mirror () {
  const targets = execFileSync('apt-get', ['indextargets', '--format', '$' + '(REPO_URI)', 'Created-By: Packages'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
  const found = targets.split('\n').find(uri => /\/debian\/?$/.test(uri))
  if (found === undefined) throw new Error('this machine has no mirror of Debian')
  return found
}

/** A program that starts the server with its own C library. */
function writeProgram (folder, name, program) {
  const library = join(folder, 'usr/lib', readdirSync(join(folder, 'usr/lib')).find(each => each.endsWith('-linux-gnu')) ?? '')
  const loader = readdirSync(library).find(each => /^ld-linux-.*\.so\.\d$/.test(each))
  writeFileSync(join(folder, name), `#!/bin/sh\nunset LD_LIBRARY_PATH\nexec '${join(library, loader)}' --library-path '${library}' '${join(folder, 'usr/bin', program)}' "$@"\n`)
  chmodSync(join(folder, name), 0o755)
}

function runs (program) {
  try {
    execFileSync(program, ['--version'], { stdio: 'ignore' })
    return existsSync(program)
  } catch {
    return false
  }
}
