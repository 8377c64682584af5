import type { Command } from 'ioredis'
import { RedisSharedError } from '../shared/errors.ts'

/** Commands that block, or change the state of the connection for all its users. */
const unshared = new Set(['subscribe', 'psubscribe', 'ssubscribe', 'unsubscribe', 'punsubscribe', 'sunsubscribe', 'blpop', 'brpop', 'brpoplpush', 'blmove', 'blmovem', 'blmpop', 'bzpopmin', 'bzpopmax', 'bzmpop', 'wait', 'waitaof', 'watch', 'unwatch', 'multi', 'exec', 'discard', 'select', 'monitor', 'sync', 'psync', 'auth', 'hello', 'reset', 'quit'])

const mayBlock = new Set(['xread', 'xreadgroup'])
/** Subcommands of CLIENT that change the replies of the connection. */
const changes = new Set(['reply', 'tracking', 'caching'])
/** Allowed in a pipeline: they are sent together. */
const transaction = new Set(['multi', 'exec', 'discard'])

/** Whether a command would block or change a shared connection. */
export function needsDedicatedConnection ({ name, args }: Command): boolean {
  const word = name.toLowerCase()
  if (unshared.has(word)) return true
  if (mayBlock.has(word)) return args.some((arg) => String(arg).toLowerCase() === 'block')
  return word === 'client' && changes.has(String(args[0]).toLowerCase())
}

/**
 * Rejects a command that is not allowed in a pipeline on a shared connection.
 *
 * @throws {RedisSharedError} PRISM_ERR_REDIS_SHARED
 */
export function refuseInPipeline (command: Command): void {
  if (needsDedicatedConnection(command) && !transaction.has(command.name.toLowerCase())) throw new RedisSharedError(command.name.toUpperCase())
}
