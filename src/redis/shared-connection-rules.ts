import type { Command } from 'ioredis'
import { RedisSharedError } from '../shared/errors.ts'

/** Commands that wait, or change the connection for all who share it. */
const unshared = new Set(['subscribe', 'psubscribe', 'ssubscribe', 'unsubscribe', 'punsubscribe', 'sunsubscribe', 'blpop', 'brpop', 'brpoplpush', 'blmove', 'blmovem', 'blmpop', 'bzpopmin', 'bzpopmax', 'bzmpop', 'wait', 'waitaof', 'watch', 'unwatch', 'multi', 'exec', 'discard', 'select', 'monitor', 'sync', 'psync', 'auth', 'hello', 'reset', 'quit'])

const mayBlock = new Set(['xread', 'xreadgroup'])
/** Subcommands of CLIENT that change what the connection answers. */
const changes = new Set(['reply', 'tracking', 'caching'])
/** They belong together, and leave together. */
const transaction = new Set(['multi', 'exec', 'discard'])

/** Whether a command would hold or change a connection that others share. */
export function needsDedicatedConnection ({ name, args }: Command): boolean {
  const word = name.toLowerCase()
  if (unshared.has(word)) return true
  if (mayBlock.has(word)) return args.some((arg) => String(arg).toLowerCase() === 'block')
  return word === 'client' && changes.has(String(args[0]).toLowerCase())
}

/**
 * Refuses a command that does not belong into a pipeline on a shared connection.
 *
 * @throws {RedisSharedError} PRISM_ERR_REDIS_SHARED
 */
export function refuseInPipeline (command: Command): void {
  if (needsDedicatedConnection(command) && !transaction.has(command.name.toLowerCase())) throw new RedisSharedError(command.name.toUpperCase())
}
