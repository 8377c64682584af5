/** Frames of a stack above the reader: the view of a property, and its getter. */
const framesAbove = 2

/** Whether the property whose view calls this function is read by Node's own code, by the stack. If that cannot be told, it is not. */
export function isReadByNode (): boolean {
  const { prepareStackTrace, stackTraceLimit } = Error
  const trace: { stack?: unknown } = {}
  try {
    Error.stackTraceLimit = framesAbove + 1
    // Tools that map stacks replace this function, and are slow.
    Error.prepareStackTrace = undefined as unknown as typeof prepareStackTrace
    Error.captureStackTrace(trace, isReadByNode)
    return /\bnode:[^\n]*$/.test(String(trace.stack))
  } catch {
    return false
  } finally {
    Error.prepareStackTrace = prepareStackTrace
    Error.stackTraceLimit = stackTraceLimit
  }
}
