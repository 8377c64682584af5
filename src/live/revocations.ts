import type { Bus } from '../events/bus.ts'
import type { Connections } from './connections.ts'
import { ownTopics } from './options.ts'

/** Devices of a user that were signed out. */
interface SignedOut {
  readonly userId: string
  readonly devices: readonly string[]
}

/** Notifies of sessions that this process has ended. */
interface SessionsSource {
  onRevoked (listener: (signedOut: SignedOut) => void): unknown
}

const topic = `${ownTopics}sessions`

/**
 * Closes the connections of a revoked session in all processes.
 *
 * @param onFailure called when the revocation could not be published; other processes then detect it with the next heartbeat
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
