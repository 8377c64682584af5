import fp from 'fastify-plugin'
import { claimDecorators } from '../src/shared/decorators.ts'
import { Bus } from '../src/events/bus.ts'
import { EventLog } from '../src/events/event-log.ts'
import { resolveEventsPolicy } from '../src/events/options.ts'
import type { EventsOptions } from '../src/events/options.ts'
import { Subscriber } from '../src/redis/subscriber.ts'

export type { CloudEvent, NewEvent } from '../src/events/event.ts'
export type { SubscribeOptions, Subscription } from '../src/events/topic-subscription.ts'
export type { EventsOptions } from '../src/events/options.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Event bus between all processes: `publish(topic, { type, data })`, `subscribe(topic, (event) => …)`. */
    events: Bus
  }
}

/**
 * Registers the event bus: all processes receive what one publishes, in order; a subscriber that lost events is notified.
 *
 * @throws {OptionError} PRISM_ERR_OPTION, at registration.
 */
export default fp<EventsOptions>(async (fastify, options) => {
  const policy = resolveEventsPolicy(options)
  const keepDecorators = claimDecorators(fastify, 'events', { instance: ['events'] })
  const pool = fastify.redisPool
  const bus = new Bus({
    policy,
    keys: pool.keyspace,
    log: new EventLog(pool.batch, pool.keyspace, policy, () => pool.server?.isCluster !== false),
    subscriber: new Subscriber(() => pool.openSubscriber(), (error) => pool.handleErrorReply(error), pool.batch.deadlineMs),
    onFailure: (error, topic) => fastify.log.error({ err: error, topic }, 'Event subscriber threw')
  })

  fastify.decorate('events', bus)
  keepDecorators()
  fastify.addHook('onClose', async () => bus.close())
}, { name: 'fastify-prism/events', fastify: '5.x', dependencies: ['fastify-prism/redis'] })
