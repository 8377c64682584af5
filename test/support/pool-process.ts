/** A process that opens a pool, a subscriber and dedicated connections, closes them on a line of input, and reports it; then it should exit by itself. */
import { once } from 'node:events'
import { resolveRedisPolicy } from '../../src/redis/options.ts'
import { PooledRedis } from '../../src/redis/client.ts'

const [url] = process.argv.slice(2)
const pool = new PooledRedis(resolveRedisPolicy({ url }))
const isReached = await pool.start()
const subscriber = pool.openSubscriber()
// Without a server there are none.
const leases = await Promise.all([pool.lease(), pool.lease({ isBlocking: true })]).catch(() => [])
leases[1]?.client.blpop('list', 0).catch(() => {})
console.log(isReached ? 'ready' : 'degraded')
await once(process.stdin, 'data')
pool.batch.get('key').catch(() => {})
await pool.quit()
subscriber.disconnect()
console.log('closed')
process.stdin.destroy()
