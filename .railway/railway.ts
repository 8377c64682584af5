import { defineRailway, preserve, project, redis, service } from 'railway/iac'

/**
 * The service and its Redis on Railway, for `railway config plan` and `railway config apply`.
 *
 * A service is managed by this file or by `railway.json`, never by both; what they say of build and deploy is the same, and a test holds it.
 * Secrets are set on Railway and preserved here. How much Redis may hold and what it then drops is set there too: the DSL has no word for it.
 */
export default defineRailway(() => {
  const shared = redis('redis')
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
      REDIS_URL: shared.env.REDIS_URL,
      TRUST_PROXY: 'railway',
      SESSION_SECRET: preserve(),
      ADMIN_TOKEN: preserve()
    }
  })
  return project('fastify-prism', { resources: [shared, web] })
})
