import type { Batch } from '../redis/batch/batch.ts'
import { withDeadline } from '../redis/health/deadline.ts'

/** What reaches the servers: a pool. */
export interface Servers {
  readonly batch: Pick<Batch, 'command' | 'deadlineMs'>
  readonly server: { readonly isCluster: boolean } | undefined
  readonly masters: readonly { readonly options: { readonly host?: string | undefined, readonly port?: number | undefined }, call (name: string, ...args: (string | number)[]): Promise<unknown> }[]
}

/** One Redis server that holds keys, and can be asked of itself. */
export interface RedisNode {
  /** `host:port` in a Cluster; '' for the only one */
  readonly name: string
  /** @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE after the deadline; ioredis's errors */
  command (name: string, args: (string | number)[]): Promise<unknown>
}

/** The servers that hold the keys: of a Cluster every master, else the one. What a server says of itself it says of nobody else. */
export function nodesOf ({ batch, server, masters }: Servers): RedisNode[] {
  if (server?.isCluster !== true) return [{ name: '', command: (name, args) => batch.command(name, args, 'background') }]
  return masters.map((client) => ({
    name: `${client.options.host}:${client.options.port}`,
    command: (name, args) => withDeadline(client.call(name, ...args), batch.deadlineMs)
  }))
}
