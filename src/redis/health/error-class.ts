import { RedisReplyError, RedisUnavailableError } from '../../shared/errors.ts'

/** Answers that mean "not now", though the server spoke. */
const refusals = /^(LOADING|BUSY|MASTERDOWN|READONLY|CLUSTERDOWN|TRYAGAIN|NOREPLICAS|MISCONF|OOM|NOAUTH|WRONGPASS|NOPERM)\b/

/** What an ACL must let the user do, as it is written there. */
export const neededRights = '+@read +@write +@scripting +@pubsub +info +ping +time, in a Cluster +cluster +asking +readonly too, for a database other than 0 +select, for a connectionName +client|setname'

/** Whether a failure speaks of the server or the way to it, not of one command. */
export function isServerFailure (error: Error): boolean {
  return error.name !== 'ReplyError' || /^(LOADING|BUSY|MASTERDOWN|CLUSTERDOWN)\b/.test(error.message)
}

/** Whether a server says that it is not the master, or has lost its own. */
export function isNotMaster (error: Error): boolean {
  return /^(READONLY|MASTERDOWN)\b/.test(error.message)
}

/** What the server's ACL forbids this user, without the names of keys; undefined for any other error. */
export function aclDenial ({ message }: Error): string | undefined {
  if (!/^(?:NOPERM\b|(?:ERR )?(?:The user executing the script can't|ACL failure in script))/.test(message)) return undefined
  const command = /'([\w|-]+)' command/.exec(message)?.[1]
  if (command !== undefined) return `the command ${command}`
  return /\bkeys?\b/.test(message) ? 'a key' : /\bchannels?\b/.test(message) ? 'a channel' : 'a command of a script'
}

/** Whether what failed so may have run all the same, now or later: it left, and no answer came. */
export function outcomeUnknown (error: Error): boolean {
  return !/: (?:no connection|[A-Z]+)\.$/.test(error.message)
}

/** Makes any failure of a command one of ours, without keys, values or addresses in its message. */
export function toPublicError (error: Error): Error {
  const word = refusals.exec(error.message)?.[1]
  if (word !== undefined) return new RedisUnavailableError(word)
  if (error.name === 'ReplyError') return new RedisReplyError(error.message.slice(0, 200))
  return error instanceof RedisUnavailableError ? error : new RedisUnavailableError('the connection failed')
}
