import type { SignalName } from './signals.ts'

/** When an operator is told of something, and what to do first. */
export interface Rule {
  readonly name: string
  readonly severity: 'critical' | 'warning' | 'info'
  /** `redis`: the same for all processes, and told by one of them; `process`: each tells of itself */
  readonly of: 'redis' | 'process'
  readonly signal: SignalName
  /** raised when the signal was above this */
  readonly above: number
  /** for so long; 0 at once */
  readonly forSeconds: number
  /** cleared when it is no longer above this: lower, so that an alert does not flutter */
  readonly clear: number
  /** what rates and percentiles are taken over */
  readonly windowSeconds: number
  /** one line: what it means */
  readonly meaning: string
  /** one line: what to do first */
  readonly first: string
}

/** All rules; `npm run prism -- rules` writes them as Prometheus reads them. */
export const rules: readonly Rule[] = [
  {
    name: 'PrismRedisDown',
    severity: 'critical',
    of: 'redis',
    signal: 'redisDown',
    above: 0.5,
    clear: 0.5,
    forSeconds: 5,
    windowSeconds: 60,
    meaning: 'Redis does not answer: the cache is bypassed, limits are counted in each process, routes that need a session answer 503.',
    first: 'Run `npx fastify-prism doctor`, which says whether the address, the network, the password or the server is at fault.'
  },
  {
    name: 'PrismRedisMemoryCritical',
    severity: 'critical',
    of: 'redis',
    signal: 'memoryShare',
    above: 0.9,
    clear: 0.85,
    forSeconds: 5,
    windowSeconds: 60,
    meaning: 'Redis uses more than 90 % of its memory: the next thing is evictions, or refused writes.',
    first: 'Look at the namespaces (dashboard, or `npx fastify-prism keys`): shorten the lifetime of the largest, or raise maxmemory.'
  },
  {
    name: 'PrismRedisMemoryHigh',
    severity: 'warning',
    of: 'redis',
    signal: 'memoryShare',
    above: 0.8,
    clear: 0.75,
    forSeconds: 5,
    windowSeconds: 60,
    meaning: 'Redis uses more than 80 % of its memory.',
    first: 'Look at the namespaces (dashboard, or `npx fastify-prism keys`) and see which of them grows.'
  },
  {
    name: 'PrismRedisEvictions',
    severity: 'warning',
    of: 'redis',
    signal: 'evictionsASecond',
    above: 100,
    clear: 50,
    forSeconds: 10,
    windowSeconds: 60,
    meaning: 'Redis gives up more than 100 keys a second for memory: cached answers are lost early, and sessions may be.',
    first: 'Shorten the cache\'s lifetimes or raise maxmemory; give sessions a server of their own.'
  },
  {
    name: 'PrismRedisConnectionsRejected',
    severity: 'critical',
    of: 'redis',
    signal: 'rejectionsASecond',
    above: 0,
    clear: 0,
    forSeconds: 0,
    windowSeconds: 60,
    meaning: 'Redis refuses connections, because maxclients is reached.',
    first: 'Look who is connected (`npx fastify-prism doctor` counts CLIENT LIST by address), lower redis.max, or raise maxclients.'
  },
  {
    name: 'PrismRedisConnectionErrors',
    severity: 'warning',
    of: 'process',
    signal: 'lossesASecond',
    above: 0.05,
    clear: 0.01,
    forSeconds: 0,
    windowSeconds: 60,
    meaning: 'Connections to Redis break or cannot be made.',
    first: 'See in Redis\'s log whether it restarts, and whether a proxy or firewall between them cuts idle connections.'
  },
  {
    name: 'PrismBreakerOpen',
    severity: 'critical',
    of: 'process',
    signal: 'breakerOpen',
    above: 0.5,
    clear: 0.5,
    forSeconds: 0,
    windowSeconds: 60,
    meaning: 'This process has stopped asking Redis after three failures in a row, and tries once a second.',
    first: 'Where other processes are well, it is this one\'s network; where all are, see PrismRedisDown.'
  },
  {
    name: 'PrismPoolExhausted',
    severity: 'warning',
    of: 'process',
    signal: 'exhaustedASecond',
    above: 1,
    clear: 0.1,
    forSeconds: 10,
    windowSeconds: 60,
    meaning: 'All connections to Redis are crowded and no more may be opened: requests wait for each other.',
    first: 'Look for slow commands (slow log on the dashboard); if Redis is fast, raise redis.max.'
  },
  {
    name: 'PrismHitRateLow',
    severity: 'warning',
    of: 'process',
    signal: 'missShare',
    above: 0.2,
    clear: 0.15,
    forSeconds: 600,
    windowSeconds: 300,
    meaning: 'Less than 80 % of cached routes\' requests are answered from the cache.',
    first: 'See on the dashboard whether purges or evictions took the answers; then look for query parameters that split keys.'
  },
  {
    name: 'PrismRoundTripSlow',
    severity: 'warning',
    of: 'process',
    signal: 'roundTripP99Seconds',
    above: 0.001,
    clear: 0.0008,
    forSeconds: 600,
    windowSeconds: 300,
    meaning: 'One in a hundred round trips to Redis takes longer than 1 ms, on what should be a private network.',
    first: 'Check that REDIS_URL names the private address; then the slow log, and whether the server is short of CPU.'
  },
  {
    name: 'PrismSessionsEvictable',
    severity: 'info',
    of: 'redis',
    signal: 'sessionsEvictable',
    above: 0.5,
    clear: 0.5,
    forSeconds: 60,
    windowSeconds: 60,
    meaning: 'Redis\'s maxmemory-policy may evict sessions: whoever is evicted is signed out.',
    first: 'Give sessions a Redis of their own (SESSION_REDIS_URL), or set maxmemory-policy volatile-ttl.'
  }
]
