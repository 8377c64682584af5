import type { ChainableCommander, Command } from 'ioredis'
import { RedisUnavailableError } from '../errors.ts'
import { deadlineMs } from './deadline.ts'
import { refuseInPipeline } from './unshared.ts'

/** What ioredis does not declare of a pipeline. */
type Pipeline = ChainableCommander & { sendCommand: (command: Command) => unknown }

/**
 * Holds a pipeline or transaction of the caller's own to what all commands on a shared connection are held to: it takes none that would wait
 * or change the connection, and it is answered within the deadline, or fails as a whole. What timed out may still have run.
 */
export function bound (chain: ChainableCommander): ChainableCommander {
  const pipeline = chain as Pipeline
  const sendCommand = pipeline.sendCommand.bind(pipeline)
  const exec = pipeline.exec.bind(pipeline)
  pipeline.sendCommand = (command) => {
    refuseInPipeline(command)
    return sendCommand(command)
  }
  pipeline.exec = (callback) => {
    const results = inTime(exec())
    if (callback !== undefined) results.then((result) => callback(null, result), callback)
    return results
  }
  return pipeline
}

function inTime<Result> (answer: Promise<Result>): Promise<Result> {
  const { promise, resolve, reject } = Promise.withResolvers<Result>()
  // A blocked event loop runs timers before it reads the socket: look at what has arrived before giving up.
  const timer = setTimeout(() => setImmediate(() => reject(new RedisUnavailableError(`no answer within ${deadlineMs} ms`))), deadlineMs)
  answer.then(resolve, reject).finally(() => clearTimeout(timer))
  return promise
}
