import type { Keys } from '../redis/keys.ts'
import { scriptNameOf } from '../redis/batch/script.ts'
import type { RedisNode } from './redis-nodes.ts'

/** One entry of the slow log. Arguments are omitted: they contain keys, and with them user IDs, and values. */
interface SlowCommand {
  /** milliseconds since 1970, by the server's clock */
  readonly at: number
  readonly microseconds: number
  /** name of the command, of a container command with its subcommand, of `evalsha` with its script */
  readonly command: string
  /** namespace of its first key; undefined without one, or when it is unknown where the keys are */
  readonly namespace?: string | undefined
}

/** The latest entries, newest first, or why there are none: the ACL denies SLOWLOG, or the server does not have it. */
export type SlowLog = readonly SlowCommand[] | 'denied' | 'unsupported'

const entriesRead = 10
/** Commands of containers such as CONFIG: the second argument names the command. */
const containers = new Set(['acl', 'client', 'cluster', 'config', 'function', 'latency', 'memory', 'module', 'object', 'pubsub', 'script', 'slowlog', 'xgroup', 'xinfo'])
/** Commands without a key as their first argument. */
const withoutKey = new Set([...containers, 'auth', 'hello', 'info', 'keys', 'ping', 'publish', 'scan', 'select', 'debug', 'flushall', 'flushdb', 'bgsave', 'bgrewriteaof', 'save', 'shutdown', 'wait', 'exec', 'multi'])

/** Reads the slow log of a node; never rejects. */
export async function readSlowLog (node: RedisNode, keys: Pick<Keys, 'namespaceOf'>): Promise<SlowLog> {
  try {
    const reply = await node.command('slowlog', ['GET', entriesRead])
    return Array.isArray(reply) ? reply.map((entry) => readEntry(entry, keys)) : 'unsupported'
  } catch (error) {
    return /\bNOPERM\b/.test((error as Error).message) ? 'denied' : 'unsupported'
  }
}

function readEntry (entry: unknown, keys: Pick<Keys, 'namespaceOf'>): SlowCommand {
  const [, seconds, microseconds, args = []] = entry as [id: number, seconds: number, microseconds: number, args?: string[]]
  const [name = '', first = '', , firstKey] = args
  const command = name.toLowerCase()
  const isScript = command === 'evalsha' || command === 'eval' || command === 'fcall'
  const key = isScript ? firstKey : withoutKey.has(command) || args.length < 2 ? undefined : first
  return {
    at: Number(seconds) * 1000,
    microseconds: Number(microseconds),
    command: /^[a-z.|_]{1,40}$/.test(command) ? isScript ? scriptNameOf(first) ?? command : containers.has(command) ? `${command} ${/^[a-z-]{1,20}$/i.exec(first)?.[0].toLowerCase() ?? ''}`.trim() : command : 'other',
    namespace: key === undefined ? undefined : keys.namespaceOf(key)
  }
}
