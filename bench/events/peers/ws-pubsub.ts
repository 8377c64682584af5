import { Redis } from 'ioredis'
import { broadcast, serveRooms } from './ws-server.ts'

// ws and Pub/Sub of ioredis: what many services write themselves.
const publisher = new Redis(process.env.REDIS_URL ?? '')
const subscriber = new Redis(process.env.REDIS_URL ?? '')
const rooms = await serveRooms((topic) => subscriber.subscribe(topic), (topic, event) => publisher.publish(topic, JSON.stringify(event)))
subscriber.on('messageBuffer', (topic: Buffer, message: Buffer) => broadcast(rooms.get(topic.toString()), message))
