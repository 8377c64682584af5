import type { Redis } from 'ioredis'
import type { Owner } from './cleanup-scope.ts'

/** Keys of the fill locks that are released from now on, in order; expired locks are not included. */
export async function watchReleases (owner: Owner, client: Redis): Promise<string[]> {
  const released: string[] = []
  await client.config('SET', 'notify-keyspace-events', 'Eg')
  const listener = client.duplicate()
  owner.after(() => listener.disconnect())
  listener.on('message', (_channel: string, key: string) => { if (key.startsWith('api:cache:lock:')) released.push(key) })
  await listener.subscribe('__keyevent@0__:del')
  return released
}
