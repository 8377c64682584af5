import { spawn, type ChildProcess } from 'node:child_process'
import { Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { RedisServerStartError } from '../../src/shared/errors.ts'
import type { RedisServerBinary } from './find-binary.ts'
import { guard } from './watchdog.ts'

/** What a server is started with. */
interface RedisServerLaunch {
  binary: RedisServerBinary
  /** The server's own folder: its working directory, removed when it ends. */
  folder: string
  /** Command line options of redis-server, `['--port', '0', …]`. */
  args: readonly string[]
  /** Receives each line that the server prints. */
  log?: ((line: string) => void) | undefined
}

/** A running Redis server that ends with us. */
export interface RedisServer {
  /** The server's own process id, not its guard's. */
  pid: number
  /** Settles once the server has ended, by whatever cause. */
  closed: Promise<void>
  /** Ends the server and removes its folder; done when both are gone. */
  stop: () => Promise<void>
}

const startMs = 10_000

/**
 * Starts a Redis server in a process group of its own, behind a guard that ends it when this process dies, by SIGKILL too.
 * Neither a Ctrl-C in the terminal ends it, nor does it keep our event loop alive.
 *
 * @throws {RedisServerStartError} PRISM_ERR_REDIS_SERVER_START, with what the server said
 */
export async function launchRedisServer (launch: RedisServerLaunch): Promise<RedisServer> {
  const [program, args] = guard(launch.folder, [launch.binary.path, ...launch.args])
  const child = spawn(program, args, { cwd: launch.folder, env: { ...process.env, ...launch.binary.env }, detached: true, windowsHide: true })
  child.stdin.on('error', () => {}) // the guard is gone: `closed` tells
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

/** Why a server ended, in its own words: the last line that it marked as serious and that is no mere advice. */
function complaint (said: string[]): string {
  const lines = said.map(line => line.replace(/^\d+:[A-Z] .*?[\d:]{8}\.\d+ /, '').trim()).filter(line => line && line !== 'Killed')
  const serious = lines.filter(line => line.startsWith('#') && !line.includes('WARNING'))
  return (serious.findLast(line => /fail|error|could not|cannot|already/i.test(line)) ?? lines.at(-1) ?? 'it ended without a word').replace(/^[#*] |\.$/g, '')
}

/** Whether our event loop waits for the server (`ref`) or may end before it (`unref`). */
function hold (child: ChildProcess, how: 'ref' | 'unref'): void {
  child[how]()
  for (const stream of child.stdio) if (stream instanceof Socket) stream[how]()
}
