import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import type { Owner } from './cleanup-scope.ts'
import { buildSessionApp } from './session-app.ts'

/**
 * Starts a session app in its own process.
 *
 * @param url of its Redis
 * @returns its address; it ends with the owner
 */
export async function startSessionProcess (owner: Owner, url: string): Promise<string> {
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', import.meta.filename, url], { stdio: ['pipe', 'pipe', 'inherit'] })
  const ended = new Promise<never>((_resolve, reject) => { child.once('exit', (code) => reject(new Error(`the process ended with ${code}`))) })
  ended.catch(() => {}) // relevant only until it listens
  owner.after(() => { child.kill('SIGKILL') })
  const address = new Promise<string>((resolve) => { createInterface(child.stdout).once('line', resolve) })
  return await Promise.race([address, ended])
}

if (import.meta.main) {
  const [, , url = ''] = process.argv
  const app = await buildSessionApp({ after: () => {} }, url)
  process.stdin.resume().once('end', () => process.exit()) // the parent process has ended
  console.log(await app.listen({ port: 0, host: '127.0.0.1' }))
}
