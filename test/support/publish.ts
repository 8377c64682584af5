import type { FastifyInstance } from 'fastify'
import type { NewEvent } from '../../plugins/events.ts'
import { until } from './until.ts'

/**
 * Publishes until Redis confirms it: a busy machine may need longer than a publish waits. An event may then be there twice, under two ids.
 *
 * @returns the id that was confirmed
 */
export async function publish (app: FastifyInstance, topic: string, event: NewEvent): Promise<string> {
  return await until(() => app.events.publish(topic, event), { what: 'an event is published' })
}
