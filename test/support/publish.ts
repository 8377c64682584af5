import type { FastifyInstance } from 'fastify'
import type { NewEvent } from '../../plugins/events.ts'
import { until } from './until.ts'

/**
 * Publishes until Redis confirms it: a busy machine can need longer than the publish timeout. An event can then exist twice, with two IDs.
 *
 * @returns the confirmed ID
 */
export async function publish (app: FastifyInstance, topic: string, event: NewEvent): Promise<string> {
  return await until(() => app.events.publish(topic, event), { what: 'an event is published' })
}
