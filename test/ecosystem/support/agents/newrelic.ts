import { createRequire } from 'node:module'

// Nothing is sent anywhere: no collector listens on this port.
Object.assign(process.env, { NEW_RELIC_NO_CONFIG_FILE: 'true', NEW_RELIC_APP_NAME: 'ecosystem', NEW_RELIC_LICENSE_KEY: '0'.repeat(40), NEW_RELIC_LOG_ENABLED: 'false', NEW_RELIC_HOST: '127.0.0.1', NEW_RELIC_PORT: '9' })
const newrelic = createRequire(import.meta.url)('newrelic')

export const isTraced = (): boolean => newrelic.agent?.tracer.getTransaction() != null
/** The agent traces only once its collector has responded; here it is told so. */
newrelic.agent?.setState('started')
