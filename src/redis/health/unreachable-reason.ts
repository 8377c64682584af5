import { aclDenial } from './error-class.ts'
import { rows, wordOf } from './reason-table.ts'
import type { ReasonRow, Subject } from './reason-table.ts'

/** Why Redis cannot be used, for the log, `/healthz/ready`, alerts, the dashboard and `doctor` alike. */
export interface UnreachableReason {
  /** stable identifier: `wrong_password`, `connection_refused`, … */
  readonly code: ReasonCode
  /** one sentence: what is wrong */
  readonly sentence: string
  /** one sentence: what to do */
  readonly remedy: string
}

/** Context of an error. */
interface ReasonContext {
  /** `host:port` without a login; omitted if the text is public */
  readonly where?: string | undefined
  /** environment variable of the example service that has the address; default `REDIS_URL` */
  readonly variable?: AddressVariable | undefined
}

export type AddressVariable = 'REDIS_URL' | 'SESSION_REDIS_URL'

export type ReasonCode = keyof typeof rows | 'unknown'

/** Generic connection failures; the next error is often more specific. */
const vague: ReadonlySet<ReasonCode> = new Set(['connection_closed', 'connect_timeout', 'no_answer', 'not_connected', 'unknown'])

/** The reason of a pool before its first error. */
export const notConnected = new Error('not connected yet')
/** The reason when a reply does not come and no error says why. */
export const noReply = new Error('no reply within the deadline')
/** The reason when the server closed the connection without an error reply. */
export const closedByServer = new Error('Redis closed the connection')

/** Converts an error of a connection or command to a reason for operators. It contains no secret, no key, and no address except `where`. */
export function reasonOf (error: Error, { where, variable = 'REDIS_URL' }: ReasonContext = {}): UnreachableReason {
  const cause = causeOf(error)
  const subject = subjectOf(where, nodeOf(error))
  const code = codeOf(cause)
  if (code === 'unknown') return { code, sentence: `${subject.redis} cannot be used: ${wordOf(cause)}.`, remedy: 'Check the server\'s log, and run `npx fastify-prism doctor` (in a clone `npm run prism -- doctor`).' }
  const { sentence, remedy }: ReasonRow = rows[code]
  const named = (text: string) => text.replaceAll('REDIS_URL', variable)
  return { code, sentence: named(sentence(subject, cause)), remedy: named(remedy) }
}

/** Whether an error is specific: it says more than that the connection failed. */
export function isSpecific (error: Error): boolean {
  return !vague.has(codeOf(causeOf(error)))
}

const nodes = new WeakMap<Error, string>()

/** Records which node of a Cluster an error is about, as `host:port`. */
export function setNode (error: Error, node: string): void {
  nodes.set(causeOf(error), node)
}

function nodeOf (error: Error): string | undefined {
  return nodes.get(causeOf(error))
}

function subjectOf (where: string | undefined, node: string | undefined): Subject {
  if (where === undefined) return node === undefined ? { redis: 'Redis', address: 'the address of Redis', socket: 'The socket of Redis' } : { redis: 'A node of the Redis Cluster', address: 'the address of a node of the Redis Cluster', socket: '' }
  const address = node ?? where
  return { redis: `Redis at ${address}`, address, socket: `The socket ${address}` }
}

/** Whether the server rejects commands until an operator changes something. */
export function isRefusal ({ message }: Error): boolean {
  return /^-?(?:READONLY|MASTERDOWN|OOM|MISCONF|NOREPLICAS|MISSING_COMMAND|VERSION_TOO_OLD)\b/.test(message) || aclDenial({ message } as Error) !== undefined
}

function codeOf (error: Error & { code?: unknown }): ReasonCode {
  const text = error.name === 'ReplyError' ? error.message : `${error.code ?? ''} ${error.message}`.trimStart()
  return (Object.entries(rows) as [ReasonCode, ReasonRow][]).find(([, { pattern }]) => pattern.test(text))?.[0] ?? 'unknown'
}

/** An ioredis Cluster error wraps the error of the last node. */
function causeOf (error: Error): Error {
  const last: unknown = 'lastNodeError' in error ? error.lastNodeError : undefined
  return last instanceof Error ? causeOf(last) : error
}
