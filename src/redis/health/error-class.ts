import { RedisReplyError, RedisUnavailableError } from '../../shared/errors.ts'

/** Error replies that mean Redis cannot serve the command now. */
const refusals = /^(LOADING|BUSY|MASTERDOWN|READONLY|CLUSTERDOWN|TRYAGAIN|NOREPLICAS|MISCONF|OOM|NOAUTH|WRONGPASS|NOPERM)\b/

/** The ACL permissions that the user needs, in ACL syntax. */
export const neededRights = '+@read +@write +@scripting +@pubsub +info +ping +time, in a Cluster +cluster +asking +readonly too, for a database other than 0 +select, for a connectionName +client|setname'

/** Whether an error concerns the server or the connection, not a single command. */
export function isServerFailure (error: Error): boolean {
  return error.name !== 'ReplyError' || /^(LOADING|BUSY|MASTERDOWN|CLUSTERDOWN)\b/.test(error.message)
}

/** Whether the server replied that it is not the master, or has lost its master. */
export function isNotMaster (error: Error): boolean {
  return /^(READONLY|MASTERDOWN)\b/.test(error.message)
}

/** What the server's ACL denies this user, without key names; undefined for any other error. */
export function aclDenial ({ message }: Error): string | undefined {
  if (!/^(?:the server rejected [^:]+: )?(?:NOPERM\b|(?:ERR )?(?:The user executing the script can't|ACL failure in script))/.test(message)) return undefined
  const command = /'([\w|-]+)' command/.exec(message)?.[1]
  if (command !== undefined) return `the command ${command}`
  return /\bkeys?\b/.test(message) ? 'a key' : /\bchannels?\b/.test(message) ? 'a channel' : 'a command of a script'
}

/** Whether the ACL denies a command that only shows something to operators: no feature depends on it, and the user need not have the permission. */
export function isDeniedOptional (error: Error): boolean {
  return /^the command slowlog\b/.test(aclDenial(error) ?? '')
}

/** Whether the failed command may still have been executed, or will be: it was sent, and no reply came. */
export function outcomeUnknown (error: Error): boolean {
  return !/: (?:no connection|[A-Z]+)\.$/.test(error.message)
}

/** Converts any error of a command to an error class of this package, without keys, values or addresses in the message. */
export function toPublicError (error: Error): Error {
  const word = refusals.exec(error.message)?.[1]
  if (word !== undefined) return new RedisUnavailableError(word)
  if (error.name === 'ReplyError') return new RedisReplyError(error.message.slice(0, 200))
  return error instanceof RedisUnavailableError ? error : new RedisUnavailableError('the connection failed')
}
