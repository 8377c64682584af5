import type { Bus } from '../events/bus.ts'
import type { Connections } from './connections.ts'
import { ownTopics } from './options.ts'

/** Devices of a user that were signed out. */
export interface SignedOut {
  readonly userId: string
  readonly devices: readonly string[]
}

/** What tells of sessions that this process has ended. */
export interface SessionsSource {
  onRevoked (listener: (signedOut: SignedOut) => void): unknown
}

const topic = `${ownTopics}sessions`

/**
 * Lets a session that ends anywhere end its connections everywhere.
 *
 * @param onFailure told when other processes could not be told: they notice with the next heartbeat
 */
export function followRevocations (sessions: SessionsSource, events: Bus, connections: Connections, onFailure: (error: unknown) => void): void {
  sessions.onRevoked((signedOut) => {
    connections.closeForDevices(signedOut.userId, signedOut.devices)
    events.publish(topic, { type: 'session.revoked', data: signedOut }).catch(onFailure)
  })
  events.subscribe(topic, ({ data }) => {
    const { userId, devices } = data as SignedOut
    connections.closeForDevices(userId, devices)
  }, { onReset: () => connections.recheckSessions() })
}
