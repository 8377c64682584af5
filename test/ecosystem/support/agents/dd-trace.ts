import tracer from 'dd-trace'

// Nothing is sent anywhere: no agent listens on this port.
Object.assign(process.env, { DD_INSTRUMENTATION_TELEMETRY_ENABLED: 'false', DD_REMOTE_CONFIGURATION_ENABLED: 'false', DD_TRACE_AGENT_URL: 'http://127.0.0.1:9' })
tracer.init({ startupLogs: false, profiling: false })

/** Whether the agent traces the code that calls this. */
export const isTraced = (): boolean => tracer.scope().active() !== null
