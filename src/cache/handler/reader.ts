/** Frames of a stack above the reader of a tracked property: the property's view, and its getter. */
const framesAbove = 2

/**
 * Whether a socket is read by Node's own code, which writes headers, or by the adapter of NestJS, which waits for its end. Call it in the property's view.
 */
export function isReadByServer (): boolean {
  return /\bnode:[^\n]*$|[/\\]node_modules[/\\]@nestjs[/\\]platform-fastify[/\\][^\n]*$/.test(stackOfReader(isReadByServer))
}

/** Whether a property is read by a tested APM agent. The wrapper of dd-trace around the `done` of each hook looks for cookies. */
export function isReadByAgent (): boolean {
  return /[/\\]node_modules[/\\](?:dd-trace|newrelic|@fastify[/\\]otel|@opentelemetry[/\\][^/\\]+|@sentry[/\\][^/\\]+)[/\\][^\n]*$/.test(stackOfReader(isReadByAgent))
}

/** The stack down to the reader; '' if it cannot be told. */
function stackOfReader (caller: () => boolean): string {
  const { prepareStackTrace, stackTraceLimit } = Error
  const trace: { stack?: unknown } = {}
  try {
    Error.stackTraceLimit = framesAbove + 1
    // Tools that map stacks replace this function, and are slow.
    Error.prepareStackTrace = undefined as unknown as typeof prepareStackTrace
    Error.captureStackTrace(trace, caller)
    return String(trace.stack)
  } catch {
    return ''
  } finally {
    Error.prepareStackTrace = prepareStackTrace
    Error.stackTraceLimit = stackTraceLimit
  }
}
