import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import events from '../../plugins/events.ts'
import type { CloudEvent } from '../../plugins/events.ts'
import redis from '../../plugins/redis.ts'
import { commandTimeout as patientTimeout } from './deadline.ts'
import { reached } from './wait-for-redis.ts'

/** An app whose bus has reached its Redis; closed when the test ends. */
export async function startEventsApp (t: Test, url: string, commandTimeout = patientTimeout): Promise<FastifyInstance> {
  const app = Fastify()
  await app.register(redis, { url, commandTimeout })
  await app.register(events, {})
  t.after(() => app.close())
  await app.ready()
  await reached(app)
  return app
}

/** The events and resets that a subscriber received. */
export interface Received {
  seen: CloudEvent[]
  resets: string[]
  ready: Promise<string>
}

/** Subscribes; events that were published again because their first publication was unconfirmed are left out. */
export function listen (app: FastifyInstance, topic: string, from?: string): Received {
  const seen: CloudEvent[] = []
  const resets: string[] = []
  const { ready } = app.events.subscribe(topic, (event) => { if (!isAgain(event, seen.at(-1))) seen.push(event) }, { from, onReset: (id) => resets.push(id) })
  return { seen, resets, ready }
}

function isAgain ({ type, data }: CloudEvent, before: CloudEvent | undefined): boolean {
  return data !== undefined && type === before?.type && JSON.stringify(data) === JSON.stringify(before.data)
}

/** The data of events, in the order of arrival. */
export const dataOf = (seen: CloudEvent[]) => seen.map(({ data }) => data)
