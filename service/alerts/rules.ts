import { memoryThresholds } from '../../plugins/metrics.ts'
import type { PrometheusRule, Rule } from './rule.ts'

/** A command of the CLI as text: an app with the package and the image have the bin, a clone has the script. */
const cli = (command: string) => `\`npx fastify-prism ${command}\` (in a clone \`npm run prism -- ${command}\`)`

/** A stopped process cannot report itself. A job belongs to the service if one of its processes exported our metrics within the last day, or by its name. */
export const prometheusRules: readonly PrometheusRule[] = [
  {
    name: 'PrismInstanceDown',
    severity: 'critical',
    expression: 'up == 0 and on (job) (max by (job) (present_over_time(prism_redis_pool_connections[1d])) or max by (job) (up{job=~".*prism.*"} >= 0))',
    forSeconds: 30,
    meaning: 'Prometheus cannot scrape a process of the service: it has exited, hangs, or is unreachable.',
    first: 'Check whether the process runs, its last log lines, and its health endpoint.',
    section: 'a-process-is-down'
  }
]

/** All rules; `npm run prism -- rules` writes them as a Prometheus rule file. */
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
    meaning: 'Redis does not respond: the cache is bypassed, each process counts limits locally, and routes that require a session return 503 to clients with a session cookie, and 401 to others.',
    first: `Run ${cli('doctor')}, which checks the address, the network, the password and the server.`,
    section: 'redis-cannot-be-reached',
    because: 'redis'
  },
  {
    name: 'PrismRedisReadOnly',
    severity: 'critical',
    of: 'redis',
    signal: 'readOnly',
    above: 0.5,
    clear: 0.5,
    forSeconds: 5,
    windowSeconds: 60,
    meaning: 'Redis is a replica and rejects all writes: nothing is stored, each process counts limits locally, sessions cannot change.',
    first: 'Set REDIS_URL to the master, or to the Sentinels.',
    section: 'redis-refuses-writes',
    because: 'redis'
  },
  {
    name: 'PrismRedisWritesRefused',
    severity: 'critical',
    of: 'redis',
    signal: 'writesRefused',
    above: 0.5,
    clear: 0.5,
    forSeconds: 5,
    windowSeconds: 60,
    meaning: 'Redis rejects writes: nothing is stored, each process counts limits locally, sessions cannot change.',
    first: 'Check the reason: memory, disk or replicas.',
    section: 'redis-refuses-writes',
    because: 'redis'
  },
  {
    name: 'PrismRedisPermissionDenied',
    severity: 'critical',
    of: 'redis',
    signal: 'permissionDenied',
    above: 0.5,
    clear: 0.5,
    forSeconds: 5,
    windowSeconds: 60,
    meaning: 'Redis denies its user a command, key or channel that the service needs: the affected feature runs as during an outage, or fails.',
    first: 'Compare the rights of the user with those in docs/operations.md.',
    section: 'acl-denies-a-command',
    because: 'redis'
  },
  {
    name: 'PrismSessionRedisUnusable',
    severity: 'critical',
    of: 'process',
    signal: 'sessionRedisUnusable',
    above: 0.5,
    clear: 0.5,
    forSeconds: 5,
    windowSeconds: 60,
    meaning: 'The sessions\' own Redis (SESSION_REDIS_URL) is unusable: routes that require a session return 503 to clients with a session cookie.',
    first: `Run ${cli('doctor')}, which checks it too.`,
    section: 'redis-cannot-be-reached',
    because: 'sessions'
  },
  {
    name: 'PrismRedisMemoryCritical',
    severity: 'critical',
    of: 'redis',
    signal: 'memoryShare',
    above: memoryThresholds.full,
    clear: memoryThresholds.critical,
    forSeconds: 5,
    windowSeconds: 60,
    meaning: 'Redis uses more than 90 % of its memory for data other than cached responses: the cache stores nothing, and evictions or rejected writes are next.',
    first: `Check the namespaces on the dashboard, or by ${cli('keys')}: shorten the lifetime of the largest, or raise maxmemory.`,
    section: 'memory-is-full'
  },
  {
    name: 'PrismRedisMemoryHigh',
    severity: 'warning',
    of: 'redis',
    signal: 'memoryShare',
    above: memoryThresholds.high,
    clear: 0.75,
    forSeconds: 5,
    windowSeconds: 60,
    meaning: 'Redis uses more than 80 % of its memory for data other than cached responses: little memory is left for the cache.',
    first: `Check which namespace grows: the dashboard, or ${cli('keys')}, shows them.`,
    section: 'memory-is-full',
    consequenceOf: ['PrismRedisMemoryCritical']
  },
  {
    name: 'PrismRedisEvictions',
    severity: 'warning',
    of: 'redis',
    signal: 'evictionsASecond',
    above: 1,
    clear: 0.1,
    forSeconds: 10,
    windowSeconds: 60,
    meaning: 'Redis evicts more than one key a second for memory, which the cache alone never causes. Cached responses, and possibly sessions, are lost early.',
    first: 'Shorten the cache\'s lifetimes or raise maxmemory; use a separate server for sessions.',
    section: 'memory-is-full'
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
    meaning: 'Redis rejects connections because maxclients is reached.',
    first: `Count the clients by address: ${cli('doctor')}. Lower redis.max, or raise maxclients.`,
    section: 'connections-break-or-are-rejected'
  },
  {
    name: 'PrismRedisConnectionErrors',
    severity: 'warning',
    of: 'process',
    signal: 'lossesASecond',
    above: 0.05,
    clear: 0.01,
    forSeconds: 5,
    windowSeconds: 60,
    meaning: 'Connections to Redis break or fail.',
    first: 'Check in Redis\'s log whether it restarts, and whether a proxy or firewall closes idle connections.',
    section: 'connections-break-or-are-rejected',
    consequenceOf: ['PrismRedisDown', 'PrismRedisReadOnly']
  },
  {
    name: 'PrismBreakerOpen',
    severity: 'critical',
    of: 'process',
    signal: 'breakerOpen',
    above: 0.5,
    clear: 0.5,
    forSeconds: 5,
    windowSeconds: 60,
    meaning: 'The circuit breaker of this process is open after three failures in a row; it probes Redis once a second.',
    first: 'If other processes reach Redis, check this process\'s network; otherwise see PrismRedisDown.',
    section: 'redis-cannot-be-reached',
    because: 'redis',
    consequenceOf: ['PrismRedisDown']
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
    meaning: 'All connections to Redis are crowded and the maximum is open: requests wait for each other.',
    first: 'Check the slow log (dashboard); if Redis is fast, raise redis.max.',
    section: 'responses-are-slow',
    consequenceOf: ['PrismRedisDown']
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
    meaning: 'Less than 80 % of the requests to cached routes are hits.',
    first: 'Check on the dashboard whether purges or evictions removed the responses; then check for query parameters that split keys.',
    section: 'low-hit-rate',
    consequenceOf: ['PrismRedisDown', 'PrismRedisReadOnly', 'PrismRedisWritesRefused', 'PrismRedisPermissionDenied', 'PrismRedisMemoryCritical']
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
    meaning: 'One in a hundred round trips to Redis takes longer than 1 ms, which a private network should not.',
    first: 'Check that REDIS_URL has the private address; then check the slow log and the server\'s CPU.',
    section: 'responses-are-slow',
    consequenceOf: ['PrismRedisDown']
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
    meaning: 'Redis\'s maxmemory-policy can evict sessions, which signs users out.',
    first: 'Use a separate Redis for sessions (SESSION_REDIS_URL), or set maxmemory-policy volatile-ttl.',
    section: 'users-are-signed-out'
  },
  {
    name: 'PrismErrorsHigh',
    severity: 'critical',
    of: 'process',
    signal: 'failedShare',
    above: 0.05,
    clear: 0.02,
    forSeconds: 60,
    windowSeconds: 300,
    meaning: 'More than 5 % of responses have a 5xx status.',
    first: 'Check in the log which routes fail, and with which error.',
    section: 'requests-fail',
    consequenceOf: ['PrismRedisDown', 'PrismRedisReadOnly', 'PrismRedisWritesRefused', 'PrismRedisPermissionDenied', 'PrismSessionRedisUnusable']
  },
  {
    name: 'PrismResponsesSlow',
    severity: 'warning',
    of: 'process',
    signal: 'answerP99Seconds',
    above: 1,
    clear: 0.8,
    forSeconds: 300,
    windowSeconds: 300,
    meaning: 'One in a hundred requests takes longer than 1 s.',
    first: 'Compare with the round trip to Redis on the dashboard: if that is fast, handlers or their dependencies are slow.',
    section: 'responses-are-slow',
    consequenceOf: ['PrismRedisDown', 'PrismRoundTripSlow']
  }
]
