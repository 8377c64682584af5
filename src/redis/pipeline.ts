import type { ChainableCommander, Command } from 'ioredis'
import { RedisUnavailableError } from '../shared/errors.ts'
import { setTimeoutAfterIo } from './health/deadline.ts'
import type { Connection } from './connection.ts'
import { isServerFailure } from './health/error-class.ts'
import { refuseInPipeline } from './shared-connection-rules.ts'
import type { ConnectionHealth } from './health/connection-health.ts'

/** Members of a pipeline that ioredis does not declare. */
type Results = Awaited<ReturnType<ChainableCommander['exec']>>
type Pipeline = ChainableCommander & { sendCommand: (command: Command) => unknown, leftRedirections?: { value?: number } }

/**
 * Applies the rules of a shared connection to a caller's pipeline or transaction: it rejects commands that block or change the connection, and it settles
 * before the deadline, or fails as a whole. Commands that timed out may still have been executed.
 */
export function boundPipeline (chain: ChainableCommander, connection: Connection): ChainableCommander {
  const pipeline = chain as Pipeline
  const sendCommand = pipeline.sendCommand.bind(pipeline)
  const exec = pipeline.exec.bind(pipeline)
  let health: ConnectionHealth | undefined
  let first: Promise<Results> | undefined
  let isLate = false
  const sendBound = (command: Command) => {
    refuseInPipeline(command)
    // MULTI has no key; the commands after it do.
    if (health === undefined && command.name !== 'multi') health = connection.healthOf({ command })
    return sendCommand(command)
  }
  const late = () => {
    isLate = true
    pipeline.leftRedirections = { value: 0 }
  }
  const execOnce: Pipeline['exec'] = (callback) => {
    // ioredis calls exec again to resend all commands when every reply is the same redirection: not after the deadline.
    if (first !== undefined) return isLate ? first : exec()
    first = health === undefined ? exec() : inTime(exec, health, connection.deadlineMs, late)
    if (callback !== undefined) first.then((result) => callback(null, result), callback)
    return first
  }
  pipeline.sendCommand = sendBound
  pipeline.exec = execOnce
  return pipeline
}

function inTime (send: () => Promise<Results>, health: ConnectionHealth, deadlineMs: number, late: () => void): Promise<Results> {
  if (health.breaker.isOpen) return Promise.reject(new RedisUnavailableError('no connection'))
  const { promise, resolve, reject } = Promise.withResolvers<Results>()
  let isOpen = true
  const close = () => { isOpen = false }
  const timer = setTimeoutAfterIo(deadlineMs, () => {
    if (!isOpen) return
    close()
    late()
    health.timedOut()
    health.breaker.failed()
    reject(new RedisUnavailableError(`no reply within ${deadlineMs} ms`))
  })
  send().then((results) => {
    if (isOpen && (results === null || results.some(([error]) => error === null || !isServerFailure(error)))) health.breaker.succeeded()
    resolve(results)
  }, reject).finally(() => {
    close()
    clearTimeout(timer)
  })
  return promise
}
