import type { Redis } from 'ioredis'
import { defaultDeadlineMs, withDeadline } from './deadline.ts'
import { aclDenial } from './error-class.ts'
import { isRefusal } from './unreachable-reason.ts'

/**
 * A script without the flag `no-writes` is rejected whenever writes are rejected (OOM, READONLY, MISCONF, NOREPLICAS). This one writes nothing and has no
 * KEYS, so that any node of a Cluster executes it. It checks the ACL for each command that the stack needs.
 *
 * ARGV[1]: a key, which need not exist. Reply: the first denied command, or ''.
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
 * Checks whether a server accepts the user's writes. It costs one round trip; it runs once per new server, and every second while writes are rejected.
 *
 * @param deadlineMs time limit for the reply; default 200 ms
 * @returns the server's error; undefined if it accepts writes, or does not support the check (Redis before 7)
 * @throws {Error} when the connection fails or the reply is late
 */
export async function checkWrites (client: Pick<Redis, 'eval'>, prefix = '', deadlineMs = defaultDeadlineMs): Promise<Error | undefined> {
  try {
    const denied = String(await withDeadline(client.eval(script, 0, `${prefix}_check`), deadlineMs))
    return denied === '' ? undefined : new Error(`NOPERM this user has no permissions to run the '${denied}' command`)
  } catch (error) {
    if (!(error instanceof Error)) throw error
    if (isRefusal(error) || aclDenial(error) !== undefined) return error
    if (error.name === 'ReplyError') return undefined // the server does not support the shebang line, or is busy, which the caller detects otherwise
    throw error
  }
}
