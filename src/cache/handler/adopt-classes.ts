import { IncomingMessage, ServerResponse } from 'node:http'
import type { Kind } from './read-listener.ts'
import { classOf, trackedClassOf } from './tracked-class.ts'
import type { Class } from './tracked-class.ts'
import { raws, replies, requests, responses } from './tracked-messages.ts'
import type { Messages } from './tracked-messages.ts'

/** An object that keeps the classes of what it makes: the context of a Fastify route, or a server of Node. */
type Maker = Record<PropertyKey, unknown>

/**
 * Later requests of the same route, and messages of the same server, are made by tracked classes. Where Fastify or Node keeps its classes elsewhere,
 * and for messages of `inject` and of HTTP/2, each object is tracked by itself, which is slower.
 */
export function adoptClasses ({ request, reply, raw, response }: Messages): void {
  if (classOf(request) === undefined || classOf(reply) === undefined) {
    const context = propertyOf(request, 'fastify.context')
    adopt(context, 'Request', request, requests)
    adopt(context, 'Reply', reply, replies)
  }
  if (classOf(raw) !== undefined && classOf(response) !== undefined) return
  const { server } = (request as { server: { server?: object } }).server
  if (server === undefined) return
  if (raw instanceof IncomingMessage) adopt(server, symbolOf(server, 'IncomingMessage'), raw, raws)
  if (response instanceof ServerResponse) adopt(server, symbolOf(server, 'ServerResponse'), response, responses)
}

/** Replaces a class by its tracked subclass, if the object is of the class. */
function adopt (maker: unknown, key: PropertyKey | undefined, sample: object, kind: Kind): void {
  if (typeof maker !== 'object' || maker === null || key === undefined) return
  const original = (maker as Maker)[key]
  if (typeof original !== 'function' || original.prototype !== Object.getPrototypeOf(sample)) return
  ;(maker as Maker)[key] = trackedClassOf(original as unknown as Class, kind, sample)
}

function symbolOf (target: object, description: string): symbol | undefined {
  return Object.getOwnPropertySymbols(target).find((symbol) => symbol.description === description)
}

function propertyOf (target: object, description: string): unknown {
  const key = symbolOf(target, description)
  return key === undefined ? undefined : (target as Maker)[key]
}
