/** A reply of the in-memory server. A Buffer is a bulk string; a number or bigint is an integer. */
export type Reply = null | number | bigint | Buffer | Status | ErrorReply | DoubleReply | MapReply | PushReply | NullArray | readonly Reply[]

/** A simple string, such as `OK`. */
export class Status {
  readonly text: string

  constructor (text: string) {
    this.text = text
  }
}

/** An error, thrown by a command or returned by a script: its code, a space and the message. */
export class ErrorReply extends Error {
}

/** A floating-point number: a bulk string in RESP2. */
export class DoubleReply {
  readonly value: number

  constructor (value: number) {
    this.value = value
  }
}

/** Pairs of keys and values: a flat array in RESP2. */
export class MapReply {
  readonly items: readonly Reply[]

  /** @param items key, value, key, value, … */
  constructor (items: readonly Reply[]) {
    this.items = items
  }
}

/** A message outside the order of replies: an array in RESP2. */
export class PushReply {
  readonly items: readonly Reply[]

  constructor (items: readonly Reply[]) {
    this.items = items
  }
}

/** An array that does not exist: the reply to EXEC after a change of a watched key. */
export class NullArray {
}

export const ok = new Status('OK')

/** A bulk string. */
export function bulk (text: string): Buffer {
  return Buffer.from(text)
}

/** A number as Redis writes it. */
export function formatDouble (value: number): string {
  if (value === Infinity) return 'inf'
  if (value === -Infinity) return '-inf'
  // JavaScript writes an exponent from 1e21 on, as Redis does for numbers that are not integers of 64 bits.
  return Object.is(value, -0) ? '-0' : String(value)
}

const lineEnd = Buffer.from('\r\n')

/**
 * Appends the RESP encoding of a reply to `out`.
 *
 * @see https://redis.io/docs/latest/develop/reference/protocol-spec/
 */
export function encodeReply (reply: Reply, protocol: 2 | 3, out: Buffer[]): void {
  if (Buffer.isBuffer(reply)) out.push(Buffer.from(`$${reply.length}\r\n`), reply, lineEnd)
  else if (Array.isArray(reply)) encodeItems('*', reply as readonly Reply[], reply.length, protocol, out)
  else if (reply instanceof MapReply) encodeItems(protocol === 3 ? '%' : '*', reply.items, protocol === 3 ? reply.items.length / 2 : reply.items.length, protocol, out)
  else if (reply instanceof PushReply) encodeItems(protocol === 3 ? '>' : '*', reply.items, reply.items.length, protocol, out)
  else out.push(Buffer.from(`${lineOf(reply as Exclude<Reply, Buffer | readonly Reply[] | MapReply | PushReply>, protocol)}\r\n`))
}

function encodeItems (type: string, items: readonly Reply[], count: number, protocol: 2 | 3, out: Buffer[]): void {
  out.push(Buffer.from(`${type}${count}\r\n`))
  for (const item of items) encodeReply(item, protocol, out)
}

function lineOf (reply: null | number | bigint | Status | ErrorReply | DoubleReply | NullArray, protocol: 2 | 3): string {
  if (reply instanceof Status) return `+${reply.text}`
  if (reply instanceof ErrorReply) return `-${reply.message.replace(/[\r\n]/g, ' ')}`
  if (typeof reply === 'number' || typeof reply === 'bigint') return `:${reply}`
  if (reply instanceof DoubleReply) return doubleLine(formatDouble(reply.value), protocol)
  if (protocol === 3) return '_'
  return reply === null ? '$-1' : '*-1'
}

function doubleLine (text: string, protocol: 2 | 3): string {
  return protocol === 3 ? `,${text}` : `$${text.length}\r\n${text}`
}
