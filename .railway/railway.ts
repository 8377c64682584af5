import { defineRailway, image, preserve, project, service, volume } from 'railway/iac'

/** `maxmemory` is three quarters of what Redis's container needs at most: copy-on-write and buffers need the rest. */
const memory = '256mb'

/**
 * Keys that expire first are evicted first: counters and cached responses before sessions.
 *
 * `allkeys-lru` also works, and signs out users whose session was not used for long; with it, give sessions a Redis of their own (`SESSION_REDIS_URL`).
 */
const policy = 'volatile-ttl'

/** A start command replaces the image's entrypoint, and expands variables only in a shell. Without a password the server does not start. */
const startRedis = `/bin/sh -c "exec docker-entrypoint.sh redis-server --requirepass \${REDIS_PASSWORD:?} --dir /data --save 60 1 --maxmemory ${memory} --maxmemory-policy ${policy}"`

/**
 * The service and its Redis on Railway, for `railway config plan` and `railway config apply`.
 *
 * A service is managed by this file or by `railway.json`, never by both; what they say of build and deploy is the same, and a test holds it.
 * Redis is a service with an image, not `redis()`: the start command of a database is not applied when it is created.
 * Secrets are set on Railway and preserved here (docs/deployment.md has the commands): a generator in this file would replace them with each `apply`.
 */
export default defineRailway(() => {
  const data = volume('redis-data')
  const redis = service('redis', {
    source: image('redis:8'),
    start: startRedis,
    volumeMounts: { '/data': data },
    env: {
      REDIS_PASSWORD: preserve(),
      // eslint-disable-next-line no-template-curly-in-string -- Railway's syntax for a variable of the same service
      REDIS_URL: 'redis://default:${{REDIS_PASSWORD}}@${{RAILWAY_PRIVATE_DOMAIN}}:6379'
    }
  })
  const web = service('fastify-prism', {
    build: { builder: 'DOCKERFILE', dockerfilePath: 'Dockerfile' },
    deploy: {
      healthcheckPath: '/healthz/ready',
      healthcheckTimeout: 60,
      restartPolicyType: 'ON_FAILURE',
      restartPolicyMaxRetries: 10,
      drainingSeconds: 10,
      overlapSeconds: 10
    },
    env: {
      REDIS_URL: redis.env.REDIS_URL,
      TRUST_PROXY: 'railway',
      SESSION_SECRET: preserve(),
      ADMIN_TOKEN: preserve()
    }
  })
  return project('fastify-prism', { resources: [data, redis, web] })
})
