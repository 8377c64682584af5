import type { Redis } from 'ioredis'
import type { Owner } from './cleanup-scope.ts'

/** Locks of fills that are given back from now on, by their keys, in order; those that lapse are not. */
export async function watchGiveBacks (owner: Owner, client: Redis): Promise<string[]> {
  const given: string[] = []
  await client.config('SET', 'notify-keyspace-events', 'Eg')
  const listener = client.duplicate()
  owner.after(() => listener.disconnect())
  listener.on('message', (_channel: string, key: string) => { if (key.startsWith('api:cache:lock:')) given.push(key) })
  await listener.subscribe('__keyevent@0__:del')
  return given
}
