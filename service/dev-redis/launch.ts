import { spawn, type ChildProcess } from 'node:child_process'
import { Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { RedisServerStartError } from '../errors.ts'
import type { RedisServerBinary } from './find-binary.ts'
import { guard } from './watchdog.ts'

/** Options of a server process. */
interface RedisServerLaunch {
  binary: RedisServerBinary
  /** the server's own folder: its working directory, removed when it ends */
  folder: string
  /** command line options of redis-server, `['--port', '0', …]` */
  args: readonly string[]
  /** called with each line that the server prints */
  log?: ((line: string) => void) | undefined
}

/** A running Redis server that ends with this process. */
export interface RedisServer {
  /** process ID of the server, not of its watchdog */
  pid: number
  /** settles once the server has ended, for any reason */
  closed: Promise<void>
  /** Ends the server and removes its folder; resolves when both are done. */
  stop: () => Promise<void>
}

const startMs = 10_000

/**
 * Starts a Redis server in its own process group, with a watchdog that ends it when this process ends, even by SIGKILL.
 * Ctrl-C in the terminal does not end it, and it does not keep the event loop alive.
 *
 * @throws {RedisServerStartError} PRISM_ERR_REDIS_SERVER_START, with the server's output
 */
export async function launchRedisServer (launch: RedisServerLaunch): Promise<RedisServer> {
  const [program, args] = guard(launch.folder, [launch.binary.path, ...launch.args])
  const child = spawn(program, args, { cwd: launch.folder, env: { ...process.env, ...launch.binary.env }, detached: true, windowsHide: true })
  child.stdin.on('error', () => {}) // the watchdog has ended: `closed` reports it
  const closed = new Promise<void>(resolve => { child.once('close', () => resolve()) })
  const stop = async () => {
    hold(child, 'ref')
    child.stdin.end()
    await closed
    hold(child, 'unref')
  }

  try {
    const pid = await ready(child, launch.log)
    hold(child, 'unref')
    return { pid, closed, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

/** The server's pid, once it accepts connections. */
async function ready (child: ChildProcess, log: (line: string) => void = () => {}): Promise<number> {
  return await new Promise<number>((resolve, reject) => {
    const said: string[] = []
    const timer = setTimeout(() => fail(`it was not ready within ${startMs / 1000} s`), startMs)
    const settle = (end: () => void) => { clearTimeout(timer); end() }
    const fail = (reason: string) => settle(() => reject(new RedisServerStartError(reason)))
    let pid = 0
    const read = (line: string) => {
      log(line)
      if (!pid && /^\d+$/.test(line)) pid = Number(line)
      else if (/ready to accept connections/i.test(line)) settle(() => resolve(pid))
      else if (said.length < 100) said.push(line)
    }

    for (const stream of [child.stdout, child.stderr]) if (stream) createInterface(stream).on('line', read)
    child.once('error', error => fail(error.message))
    child.once('close', () => fail(complaint(said)))
  })
}

/** The reason why a server ended: its last line of level warning that is not mere advice. */
function complaint (said: string[]): string {
  const lines = said.map(line => line.replace(/^\d+:[A-Z] .*?[\d:]{8}\.\d+ /, '').trim()).filter(line => line && line !== 'Killed')
  const serious = lines.filter(line => line.startsWith('#') && !line.includes('WARNING'))
  return (serious.findLast(line => /fail|error|could not|cannot|already/i.test(line)) ?? lines.at(-1) ?? 'it ended without a word').replace(/^[#*] |\.$/g, '')
}

/** Whether the event loop waits for the server (`ref`) or can end before it (`unref`). */
function hold (child: ChildProcess, how: 'ref' | 'unref'): void {
  child[how]()
  for (const stream of child.stdio) if (stream instanceof Socket) stream[how]()
}
