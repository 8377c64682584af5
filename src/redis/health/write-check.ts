import type { Redis } from 'ioredis'
import { defaultDeadlineMs, withDeadline } from './deadline.ts'
import { aclDenial } from './error-class.ts'
import { isRefusal } from './unreachable-reason.ts'

/**
 * A script without the flag `no-writes` is refused wherever a write is refused (OOM, READONLY, MISCONF, NOREPLICAS), and this one writes nothing and names no
 * key, so that any node of a Cluster runs it. It asks for each command that the stack needs whether the ACL lets the user run it.
 *
 * ARGV[1] a key that need not exist; returns the first command that is denied, or ''.
 *
 * @see https://redis.io/docs/latest/develop/programmability/eval-intro/#eval-flags
 */
const script = `#!lua
local key = ARGV[1]
local commands = {
  {'get', key}, {'mget', key}, {'set', key, ''}, {'unlink', key}, {'pexpire', key, '1'}, {'hgetall', key}, {'hset', key, '', ''}, {'xadd', key, '*', '', ''}, {'zadd', key, '1', ''},
  {'publish', key, ''}, {'subscribe', key}, {'evalsha', '', '1', key}, {'info'}, {'time'}
}
for _, command in ipairs(commands) do
  if not redis.acl_check_cmd(unpack(command)) then return command[1] end
end
return ''`

/**
 * Asks one server whether it takes the writes of its user. It costs one round trip, and is asked seldom: of a new server, and while writes are refused.
 *
 * @param deadlineMs how long the reply is awaited; default 200 ms
 * @returns what the server refuses, in its own words; undefined where it refuses nothing, or cannot be asked so (Redis before 7)
 * @throws {Error} when the connection fails or no answer comes in time
 */
export async function checkWrites (client: Pick<Redis, 'eval'>, prefix = '', deadlineMs = defaultDeadlineMs): Promise<Error | undefined> {
  try {
    const denied = String(await withDeadline(client.eval(script, 0, `${prefix}_check`), deadlineMs))
    return denied === '' ? undefined : new Error(`NOPERM this user has no permissions to run the '${denied}' command`)
  } catch (error) {
    if (!(error instanceof Error)) throw error
    if (isRefusal(error) || aclDenial(error) !== undefined) return error
    if (error.name === 'ReplyError') return undefined // a server that does not know the script's first line, or is busy: told elsewhere
    throw error
  }
}
