import { setTimeout as wait } from 'node:timers/promises'

/** Waits for a condition: Redis can connect after the app is ready, a response is stored after its reply, and events are delivered asynchronously. */
export async function until (look: () => boolean | Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 1500 && !await look(); tries++) await wait(10)
}
