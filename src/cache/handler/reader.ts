import { join, sep } from 'node:path'

/** Enough for the frames of tracking above a reader. */
const fewFrames = 8
/** Enough for the wrappers that agents put between a caller and what it calls. */
const manyFrames = 50
const ofServer = /\bnode:|[/\\]node_modules[/\\](?:light-my-request|@nestjs[/\\]platform-fastify)[/\\]/
const ofAgent = /[/\\]node_modules[/\\](?:dd-trace|newrelic|@fastify[/\\]otel|@opentelemetry[/\\][^/\\]+|@sentry[/\\][^/\\]+)[/\\]/
const ofFastify = /\bnode:|[/\\]node_modules[/\\]fastify[/\\]/
/** Fastify's runner of hooks. */
const ofHooks = /[/\\]node_modules[/\\]fastify[/\\]lib[/\\]hooks\.js/
/** Fastify's `reply.send`. */
const ofSend = /\bsend \([^\n]*[/\\]node_modules[/\\]fastify[/\\]lib[/\\]reply\.js/
/** The folders of this package's modules. */
const ofPackage = ['src', 'plugins'].map((folder) => join(import.meta.dirname, '../../..', folder) + sep)
const ofTracking = import.meta.dirname + sep
/** Modules of Node that read what an app gives them. */
const ofTools = /\bnode:(?:internal\/)?(?:util|assert|console)\b/
const ofInspect = /\bnode:internal\/util\/inspect\b/
const ofConsole = /\bnode:internal\/console\//
/** A method of the global console. One of another `Console` may write to a stream that the handler sends. */
const ofGlobalConsole = /\bat console\./

/** Whether an input is read by the code of Node or of `inject` that writes a response, or by the adapter of NestJS, which waits for the end of a socket. */
export function isReadByServer (): boolean {
  const [reader = ''] = frames(fewFrames)
  return ofServer.test(reader) && !ofTools.test(reader)
}

/** Whether an input is read by a tested APM agent. The wrapper of dd-trace around the `done` of each hook looks for cookies. */
export function isReadByAgent (): boolean {
  return ofAgent.test(frames(fewFrames)[0] ?? '')
}

/** Whether an input is read by this package, Fastify, Node or an agent. */
export function isReadByStack (): boolean {
  return isOfStack(frames(manyFrames)[0] ?? '')
}

/** The same, or by the synchronous part of a hook. */
export function isReadByHook (): boolean {
  const [reader = '', ...others] = frames(manyFrames)
  return isOfStack(reader) || others.some((line) => ofHooks.test(line))
}

function isOfStack (reader: string): boolean {
  return ofFastify.test(reader) || ofAgent.test(reader) || ofPackage.some((folder) => reader.includes(folder))
}

/** Whether an object is inspected because the global console prints it: nothing of that gets back to the handler. */
export function isPrintedByConsole (): boolean {
  const callers = frames(manyFrames)
  const first = callers.findIndex((line) => !ofInspect.test(line))
  const last = callers.findIndex((line, index) => index >= first && !ofConsole.test(line))
  return first >= 0 && last > first && ofGlobalConsole.test(callers[last - 1] ?? '')
}

/**
 * Whether a payload has come from `sendWatched` to Fastify's `send` through tested APM agents alone, and not through a wrapper of the app.
 *
 * @returns undefined if the caller is not Fastify's `send`
 */
export function isSentByAgents (): boolean | undefined {
  const [reader = '', ...others] = frames(manyFrames)
  if (!ofSend.test(reader)) return undefined
  const sender = others.findIndex((line) => line.includes(ofTracking) && line.includes('sendWatched'))
  return sender >= 0 && others.slice(0, sender).every((line) => ofAgent.test(line))
}

/** The stack below the code of tracking that calls this. The first line is the reader of an input. */
function frames (limit: number): string[] {
  const lines = stack(limit).split('\n').slice(1)
  const first = lines.findIndex((line) => !line.includes(ofTracking) && !line.includes('Reflect.get (<anonymous>)'))
  return first === -1 ? [] : lines.slice(first)
}

/** '' if it cannot be told. */
function stack (limit: number): string {
  const { prepareStackTrace, stackTraceLimit } = Error
  const trace: { stack?: unknown } = {}
  try {
    Error.stackTraceLimit = limit
    // Tools that map stacks replace this function, and are slow.
    Error.prepareStackTrace = undefined as unknown as typeof prepareStackTrace
    Error.captureStackTrace(trace, stack)
    return String(trace.stack)
  } catch {
    return ''
  } finally {
    Error.prepareStackTrace = prepareStackTrace
    Error.stackTraceLimit = stackTraceLimit
  }
}
