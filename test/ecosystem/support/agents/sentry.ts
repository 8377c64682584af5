import * as Sentry from '@sentry/node'

// Nothing is sent anywhere: nothing listens on this port.
Sentry.init({ dsn: 'http://key@127.0.0.1:9/1', tracesSampleRate: 1 })

export const isTraced = (): boolean => Sentry.getActiveSpan() !== undefined
export { Sentry }
