import type { Batch } from '../redis/batch/batch.ts'
import { withDeadline } from '../redis/health/deadline.ts'

/** Port to the Redis servers, implemented by the pool. */
export interface Servers {
  readonly batch: Pick<Batch, 'command' | 'deadlineMs'>
  readonly server: { readonly isCluster: boolean } | undefined
  readonly masters: readonly { readonly options: { readonly host?: string | undefined, readonly port?: number | undefined }, call (name: string, ...args: (string | number)[]): Promise<unknown> }[]
}

/** One Redis server that stores keys. */
export interface RedisNode {
  /** `host:port` in a Cluster; '' for a single server */
  readonly name: string
  /** @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE after the deadline; ioredis's errors */
  command (name: string, args: (string | number)[]): Promise<unknown>
}

/** @returns every master of a Cluster, or the single server. INFO, SLOWLOG and SCAN cover one node only. */
export function nodesOf ({ batch, server, masters }: Servers): RedisNode[] {
  if (server?.isCluster !== true) return [{ name: '', command: (name, args) => batch.command(name, args, 'background') }]
  return masters.map((client) => ({
    name: `${client.options.host}:${client.options.port}`,
    command: (name, args) => withDeadline(client.call(name, ...args), batch.deadlineMs)
  }))
}
