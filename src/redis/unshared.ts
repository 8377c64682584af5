import type { Command } from 'ioredis'
import { RedisSharedError } from '../errors.ts'

/** Commands that wait, or change the connection for all who share it. */
const unshared = new Set(['subscribe', 'psubscribe', 'ssubscribe', 'unsubscribe', 'punsubscribe', 'sunsubscribe', 'blpop', 'brpop', 'brpoplpush', 'blmove', 'blmpop', 'bzpopmin', 'bzpopmax', 'bzmpop', 'wait', 'waitaof', 'watch', 'unwatch', 'multi', 'exec', 'discard', 'select', 'monitor', 'auth', 'hello', 'reset', 'quit'])

const mayBlock = new Set(['xread', 'xreadgroup'])

/**
 * Refuses, through its own promise, a command that does not belong on a shared connection.
 *
 * @returns whether it may go
 */
export function refuseUnshared (command: Command): boolean {
  const name = command.name.toLowerCase()
  const blocks = mayBlock.has(name) && command.args.some((arg) => String(arg).toLowerCase() === 'block')
  if (!unshared.has(name) && !blocks) return true
  command.reject(new RedisSharedError(name.toUpperCase()))
  return false
}
