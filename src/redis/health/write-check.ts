import type { Redis } from 'ioredis'
import { defaultDeadlineMs, withDeadline } from './deadline.ts'
import { aclDenial } from './error-class.ts'
import { isRefusal } from './unreachable-reason.ts'

/**
 * A script without the flag `no-writes` is rejected whenever writes are rejected (OOM, READONLY, MISCONF, NOREPLICAS). This one writes nothing and has no
 * KEYS, so that any node of a Cluster executes it. It checks that each command that the stack needs exists, and that the ACL allows it. A denied
 * command is called for its error, which says whether the command, a key or a channel is denied; the server checks the ACL before anything else.
 *
 * ARGV[1]: a key, which need not exist. Reply: `missing` or `denied`, the first such command, and the error of a denied one; or an empty array.
 *
 * @see https://redis.io/docs/latest/develop/programmability/eval-intro/#eval-flags
 */
const script = `#!lua
local key = ARGV[1]
local commands = {
  {'get', key}, {'mget', key}, {'exists', key}, {'type', key}, {'pttl', key}, {'getrange', key, '0', '0'},
  {'set', key, ''}, {'append', key, ''}, {'setrange', key, '0', ''}, {'del', key}, {'unlink', key}, {'pexpire', key, '1'}, {'pexpireat', key, '1'},
  {'hget', key, ''}, {'hgetall', key}, {'hexists', key, ''}, {'hset', key, '', ''}, {'hdel', key, ''},
  {'xadd', key, '*', '', ''}, {'xrange', key, '-', '+'}, {'xrevrange', key, '+', '-'},
  {'zadd', key, '1', ''}, {'zcount', key, '0', '0'}, {'zrange', key, '0', '0'}, {'zrem', key, ''}, {'zremrangebyscore', key, '0', '0'},
  {'publish', key, ''}, {'subscribe', key}, {'evalsha', '', '1', key}, {'info'}, {'time'}
}
for _, command in ipairs(commands) do
  local exists, allowed = pcall(redis.acl_check_cmd, unpack(command))
  if not exists then return {'missing', command[1], ''} end
  if not allowed then
    local reply = redis.pcall(unpack(command))
    return {'denied', command[1], type(reply) == 'table' and reply.err or ''}
  end
end
return {}`

/**
 * Checks whether a server accepts the user's writes. It costs one round trip; it runs once per new server, and every second while writes are rejected.
 *
 * @param deadlineMs time limit for the reply; default 200 ms
 * @returns the server's error; undefined if it accepts writes, or does not support the check (Redis before 7)
 * @throws {Error} when the connection fails or the reply is late
 */
export async function checkWrites (client: Pick<Redis, 'eval' | 'get'>, prefix = '', deadlineMs = defaultDeadlineMs): Promise<Error | undefined> {
  try {
    return faultOf(await withDeadline(client.eval(script, 0, `${prefix}_check`), deadlineMs) as string[])
  } catch (error) {
    if (!(error instanceof Error)) throw error
    // A replica that has lost its master may reject reads too, which this script does not show.
    if (/^-?READONLY\b/.test(error.message)) return await withDeadline(client.get(`${prefix}_check`), deadlineMs).then(() => error, (other: Error) => isRefusal(other) ? other : error)
    if (/unknown command/i.test(error.message)) return missing('eval')
    if (isRefusal(error) || aclDenial(error) !== undefined) return error
    if (error.name === 'ReplyError') return undefined // the server does not support the shebang line, or is busy, which the caller detects otherwise
    throw error
  }
}

/** As an error of Redis, without key and channel names. */
function faultOf ([kind, command = '', text = '']: readonly string[]): Error | undefined {
  if (kind === undefined) return undefined
  if (kind === 'missing') return missing(command)
  if (/\bchannels?\b/.test(text)) return new Error('NOPERM No permissions to access a channel')
  return new Error(/\bkeys?\b/.test(text) ? 'NOPERM No permissions to access a key' : `NOPERM this user has no permissions to run the '${command}' command`)
}

function missing (command: string): Error {
  return new Error(`MISSING_COMMAND '${command}'`)
}
